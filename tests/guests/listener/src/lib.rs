//! A test component that gets the messages of Redis channels, as users of Spin's SDK 7 build it.
//!
//! It prints each message. On the message `refuse` it returns an error, and on `boom` it panics.

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
