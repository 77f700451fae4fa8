#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rtlogd_fuzz::checks::structured(data));
