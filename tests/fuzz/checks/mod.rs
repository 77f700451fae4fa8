//! What must hold whatever bytes come in: one function for each target. The fuzzer looks for bytes with which it does not, and
//! `cargo it -- fuzz` gives it those of the corpus.

mod config;
mod envelopes;
mod forwarded;
mod history;
mod ids;
mod lines;
mod progress;
mod query;
mod redact;
mod rpc;
mod sse;
mod structured;

pub use config::config;
pub use envelopes::envelopes;
pub use forwarded::forwarded;
pub use history::history;
pub use ids::ids;
pub use lines::lines;
pub use progress::progress;
pub use query::query;
pub use redact::redact;
pub use rpc::rpc;
pub use sse::sse;
pub use structured::structured;

/// The first `N` bytes, which choose, and the others, which are what is read; zeros where there are too few.
fn choices<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    data.split_first_chunk().map_or(([0; N], data), |(first, rest)| (*first, rest))
}

/// `text` as reads may give it: all at once for 0, else in pieces of 1 to 16 bytes that `seed` chooses.
fn reads(mut text: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut state = u32::from(seed);
    while seed > 0 && !text.is_empty() {
        // As in Numerical Recipes; what comes out need only vary.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = usize::from(state.to_be_bytes()[0] & 15) + 1;
        let (piece, rest) = text.split_at(length.min(text.len()));
        pieces.push(piece);
        text = rest;
    }
    if seed == 0 {
        pieces.push(text);
    }
    pieces
}
