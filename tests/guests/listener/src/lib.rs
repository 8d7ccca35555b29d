//! A test component that gets the messages of Redis channels, as users of Spin's SDK 7 build it.
//!
//! It prints what it hears; `refuse` is answered with an error, and `boom` with a panic.

use spin_sdk::redis_subscriber;

#[redis_subscriber]
async fn hear(message: Vec<u8>) -> Result<(), String> {
    let text = String::from_utf8_lossy(&message);
    let shown: String = text.chars().take(40).collect();
    println!("{} heard {shown} of {} bytes", std::env::var("NAME").unwrap_or_default(), message.len());
    match &*text {
        "refuse" => Err("it said refuse".to_owned()),
        "boom" => panic!("it said boom"),
        _ => Ok(()),
    }
}
