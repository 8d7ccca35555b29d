//! Any bytes as `spin.toml`, `runtime-config.toml` and `.env`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| souk_manifest::fuzz::manifest(data));
