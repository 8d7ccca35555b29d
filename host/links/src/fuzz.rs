//! Fuzz targets: any bytes as a message of another host, and of a NestJS service.

pub use crate::nest::fuzz::packet as nest_packet;
pub use crate::remote::fuzz::message as remote_message;

#[cfg(test)]
mod tests {
    #[test]
    fn any_message_of_another_host_is_refused_or_read() {
        souk_test::fuzz::check("remote-message", super::remote_message);
    }

    #[test]
    fn any_packet_of_a_nest_service_is_refused_or_read() {
        souk_test::fuzz::check("nest-packet", super::nest_packet);
    }
}
