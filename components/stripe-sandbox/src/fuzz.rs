//! Fuzz target: any bytes as the form of a new checkout session.

/// Any bytes. A form is read, or refused with a text.
pub fn form(data: &[u8]) {
    let _ = crate::form::parse(data);
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_form_is_refused_or_read() {
        souk_test::fuzz::check("stripe-form", super::form);
    }
}
