//! Channels of a real server, and components that say by an error or a trap that they got a message.

use super::*;
use souk_bindings::http_client::{AllowedHosts, Client, Internal, tls_config};
use souk_bindings::{Ctx, Grants};
use souk_manifest::limits::ComponentLimits;
use souk_runtime::{Compiled, Fairness, PoolConfig};
use souk_test::Redis;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::StoreContextMut;
use wasmtime::component::{Component, Linker};

/// Hands each message's length to the host's `heard`, and answers with the error that `heard` asks for.
fn component(interface: &str) -> String {
    format!(
        r#"(component
            (import "heard" (func $heard (param "length" u32) (result u32)))
            (core module $memory
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 64))
            (core instance $memory (instantiate $memory))
            (core func $heard (canon lower (func $heard)))
            (core module $m
                (import "host" "heard" (func $heard (param i32) (result i32)))
                (func (export "handle") (param i32 i32) (result i32)
                    local.get 1
                    call $heard))
            (core instance $m (instantiate $m (with "host" (instance (export "heard" (func $heard))))))
            (type $error (enum "success" "error"))
            (func $handle (param "message" (list u8)) (result (result (error $error)))
                (canon lift (core func $m "handle") (memory $memory "memory") (realloc (func $memory "realloc"))))
            (instance $handler (export "error" (type $error)) (export "handle-message" (func $handle)))
            (export "{interface}" (instance $handler)))"#
    )
}
