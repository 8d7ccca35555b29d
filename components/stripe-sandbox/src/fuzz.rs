//! Fuzz target: any bytes as the form of a new checkout session.

/// Parses any bytes as a form, which is accepted or refused.
pub fn form(data: &[u8]) {
    let _ = crate::form::parse(data);
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_form_is_accepted_or_refused() {
        souk_test::fuzz::check("stripe-form", super::form);
    }
}
