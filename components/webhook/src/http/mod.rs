//! The HTTP of this component's one route: its path, and its answers.

pub(crate) mod reply;

/// Whether a path, with or without a query, is the webhook's. Case and one slash at the end do not matter, as in
/// Express.
pub(crate) fn is_webhook(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path.strip_suffix('/').unwrap_or(path).eq_ignore_ascii_case("/payments/webhook")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_matched_without_regard_to_case_a_last_slash_or_a_query() {
        for path in ["/payments/webhook", "/Payments/WebHook", "/payments/webhook/", "/payments/webhook?a=/b/"] {
            assert!(is_webhook(path), "{path}");
        }
        for path in ["/payments/webhooks", "/payments/webhook//", "/payments", "/", "", "/?/payments/webhook"] {
            assert!(!is_webhook(path), "{path}");
        }
    }
}
