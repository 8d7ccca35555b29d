//! Any bytes as a form that a client sends to the sandbox of Stripe.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stripe_sandbox::fuzz::form(data));
