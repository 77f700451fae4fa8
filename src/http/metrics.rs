//! `GET /metrics`: metrics as `OpenMetrics`, or in the older text format of Prometheus for clients that accept no
//! other.
//!
//! The metrics include the streams that the reader may see. All values are collected when they are requested; only
//! responses are counted as they occur.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info as InfoMetric;
use prometheus_client::registry::{Registry, Unit};
use warp::reply::Response;

use super::process_usage::ProcessUsage;
use crate::stream::{CatalogEntry, LogInfo};

use super::app::readable_info;
use super::problem::Problem;
use super::render_cache::{RenderKind, Rendering};
use super::request::HttpRequest;
use super::response_counter::ResponseCounter;

/// Media types (`OpenMetrics` 1.0.0, "Protocol Negotiation"; Prometheus, "Exposition formats").
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: String,
}

/// The labels of a stream and its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamStateLabels {
    stream: String,
    state: String,
}

/// `GET /metrics`.
pub(super) async fn metrics(request: &HttpRequest) -> Result<Response, Problem> {
    request.only_parameter("")?;
    let kind = negotiate_format(&request.headers);
    let rendering = request.app.render_cache.rendering(&request.caller, kind, || render(request, kind)).await?;
    let media_type = if kind == RenderKind::Prometheus { PROMETHEUS_TYPE } else { OPEN_METRICS_TYPE };
    let mut response = Response::new(rendering.body.clone().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn render(request: &HttpRequest, kind: RenderKind) -> Rendering {
    let now = SystemTime::now().into();
    let entries = request.app.readable_streams(&request.caller);
    let labelled = |entry: &CatalogEntry| {
        Some((StreamLabels { stream: entry.log.name().to_string() }, readable_info(entry, now).ok()?))
    };
    let streams: Vec<_> = entries.iter().filter_map(labelled).collect();
    let mut registry = Registry::default();
    register_streams(&mut registry, &streams);
    register_http(&mut registry, &request.app.response_counter);
    register_process(&mut registry, &ProcessUsage::now());
    let public = entries.iter().flat_map(|entry| entry.log.denials()).collect();
    Rendering { body: encode(&registry, kind).into(), streams: None, public_streams: public }
}

/// The older text format for clients that accept it and not the newer one.
fn negotiate_format(headers: &HeaderMap) -> RenderKind {
    let named = |media_type: &str| {
        let mut accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accept.any(|value| value.contains(media_type))
    };
    if named("text/plain") && !named("application/openmetrics-text") {
        RenderKind::Prometheus
    } else {
        RenderKind::OpenMetrics
    }
}

/// The text of all metrics in this format.
fn encode(registry: &Registry, kind: RenderKind) -> String {
    let mut body = String::new();
    let done = match kind {
        RenderKind::Prometheus => prometheus_text::encode(&mut body, registry),
        RenderKind::OpenMetrics | RenderKind::List => text::encode(&mut body, registry),
    };
    done.expect("a String takes all that is written to it");
    body
}

type StreamInfos = [(StreamLabels, LogInfo)];

/// The name of a metric, its description, and the function that computes it.
type MetricRow<T> = (&'static str, &'static str, fn(&LogInfo) -> T);

fn register_streams(registry: &mut Registry, streams: &StreamInfos) {
    let counts: [MetricRow<u64>; 7] = [
        ("lines", "Lines that the stream received", |info| info.counts.lines),
        ("losses", "Loss events: parts of the source that could not be read or recorded", |info| info.counts.losses),
        ("gaps", "Gap events that readers received", |info| info.counts.gaps),
        ("restarts", "Restarts of the process", |info| info.counts.runs.saturating_sub(1)),
        ("take_overs", "Runs that were taken over from an earlier rtlogd", |info| info.counts.take_overs),
        ("lost_take_overs", "Runs of an earlier rtlogd that could not be taken over", |info| {
            info.counts.lost_take_overs
        }),
        ("filtered_lines", "Lines matched against filters, for all readers together", |info| info.filter_checks),
    ];
    for (name, help, count) in counts {
        registry.register(format!("rtlogd_stream_{name}"), help, counters(streams, count));
    }
    let bytes = counters(streams, |info| info.counts.bytes);
    registry.register_with_unit("rtlogd_stream", "Bytes of the lines that the stream received", Unit::Bytes, bytes);
    let sizes: [MetricRow<Option<u64>>; 3] = [
        ("lag", "Bytes of the source that have not been read yet", |info| Some(info.lag)),
        ("memory", "Bytes that the stream uses in memory", |info| Some(info.memory as u64)),
        ("history", "Bytes that the stream uses on disk", |info| info.disk),
    ];
    for (name, help, size) in sizes {
        registry.register_with_unit(format!("rtlogd_stream_{name}"), help, Unit::Bytes, gauges(streams, size));
    }
    let readers = gauges(streams, |info| Some(info.readers as u64));
    registry.register("rtlogd_stream_readers", "Connected readers", readers);
    let degraded = gauges(streams, |info| Some(u64::from(info.degraded.is_some())));
    registry.register("rtlogd_stream_degraded", "1 while events cannot be recorded, otherwise 0", degraded);
    registry.register("rtlogd_stream_state", "1 for the current state of the source", states(streams));
    let progress = Family::<StreamLabels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    for (of, info) in streams {
        if let Some(percent) = info.progress.as_ref().and_then(|progress| progress.percent) {
            progress.get_or_create(of).set(percent / 100.0);
        }
    }
    let orphaned = Family::<StreamLabels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    for (of, info) in streams.iter().filter(|(_, info)| info.run.is_some()) {
        orphaned.get_or_create(of).set(info.counts.orphaned.as_secs_f64());
    }
    registry.register_with_unit(
        "rtlogd_stream_run_orphaned",
        "The time for which the last run had no rtlogd, in total",
        Unit::Seconds,
        orphaned,
    );
    registry.register_with_unit(
        "rtlogd_stream_progress",
        "The progress, from 0 to 1",
        Unit::Other("ratio".to_owned()),
        progress,
    );
}

fn counters(streams: &StreamInfos, count: impl Fn(&LogInfo) -> u64) -> Family<StreamLabels, Counter> {
    let family = Family::<StreamLabels, Counter>::default();
    for (of, info) in streams {
        family.get_or_create(of).inc_by(count(info));
    }
    family
}

fn gauges(streams: &StreamInfos, value: impl Fn(&LogInfo) -> Option<u64>) -> Family<StreamLabels, Gauge> {
    let family = Family::<StreamLabels, Gauge>::default();
    for (of, info) in streams {
        if let Some(value) = value(info) {
            family.get_or_create(of).set(to_i64(value));
        }
    }
    family
}

fn states(streams: &StreamInfos) -> Family<StreamStateLabels, Gauge> {
    let family = Family::<StreamStateLabels, Gauge>::default();
    for (StreamLabels { stream }, info) in streams {
        if let Some(state) = &info.state {
            family.get_or_create(&StreamStateLabels { stream: stream.clone(), state: state.name().to_owned() }).set(1);
        }
    }
    family
}

fn register_http(registry: &mut Registry, answers: &ResponseCounter) {
    answers.register(registry);
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("rtlogd_build", "The version of rtlogd", InfoMetric::new(version));
}

/// Registers the metrics that Prometheus expects of each process ("Writing client libraries", process metrics).
fn register_process(registry: &mut Registry, usage: &ProcessUsage) {
    let started = usage.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = |time: Duration| time.as_secs_f64();
    let processor = ConstCounter::new(seconds(usage.cpu_time));
    registry.register_with_unit("process_cpu", "User and system CPU time of the process", Unit::Seconds, processor);
    let begin = ConstGauge::new(seconds(started));
    registry.register_with_unit(
        "process_start_time",
        "Start time of the process, since the Unix epoch",
        Unit::Seconds,
        begin,
    );
    for (name, help, unit, value) in [
        ("process_resident_memory", "Resident memory of the process", Some(Unit::Bytes), usage.resident),
        ("process_virtual_memory", "Virtual memory of the process", Some(Unit::Bytes), usage.address_space),
        ("process_threads", "Threads of the process", None, usage.threads),
        ("process_open_fds", "Open file descriptors of the process", None, usage.descriptors),
        ("process_max_fds", "Limit on open file descriptors of the process", None, usage.descriptor_limit),
    ] {
        let Some(value) = value else { continue };
        let gauge = ConstGauge::new(to_i64(value));
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, gauge),
            None => registry.register(name, help, gauge),
        }
    }
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn answers_are_counted_by_method_and_status() {
        let answers = ResponseCounter::default();
        for (method, status) in [("GET", 200), ("GET", 200), ("POST", 403), ("BREW", 405), ("MIX", 405)] {
            answers.count(&method.parse().unwrap(), StatusCode::from_u16(status).unwrap());
        }
        let mut registry = Registry::default();
        register_http(&mut registry, &answers);
        for (accept, kind) in [("*/*", RenderKind::OpenMetrics), ("text/plain", RenderKind::Prometheus)] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(negotiate_format(&headers), kind);
            let body = encode(&registry, kind);
            for line in [
                r#"rtlogd_http_requests_total{method="GET",code="200"} 2"#,
                r#"rtlogd_http_requests_total{method="POST",code="403"} 1"#,
                r#"rtlogd_http_requests_total{method="other",code="405"} 2"#,
            ] {
                assert!(body.lines().any(|encode| encode == line), "{body}");
            }
        }
    }
}
