//! Bodies and errors of the routes about one's own account. As in [`super::bodies`], these types only describe the API.
#![allow(dead_code, reason = "the macros read the fields, nothing else does")]

use super::bodies::ServiceError;
use utoipa::{IntoResponses, ToSchema};

/// A new password, and the current one.
#[derive(ToSchema)]
#[schema(
    as = PasswordChange, rename_all = "camelCase", example = json!({"password": "Abc123!x", "newPassword": "Xyz789!a"})
)]
pub(crate) struct PasswordChangeBody {
    /// The current password.
    #[schema(format = Password, min_length = 1)]
    password: String,
    /// As at registration.
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    new_password: String,
}

/// A new e-mail address.
#[derive(ToSchema)]
#[schema(as = EmailChange, example = json!({"password": "Abc123!x", "email": "ann@example.org"}))]
pub(crate) struct EmailChangeBody {
    #[schema(format = Password, min_length = 1)]
    password: String,
    /// As at registration.
    #[schema(format = Email, max_length = 254)]
    email: String,
}

/// The current password.
#[derive(ToSchema)]
#[schema(as = Password, example = json!({"password": "Abc123!x"}))]
pub(crate) struct PasswordBody {
    #[schema(format = Password, min_length = 1)]
    password: String,
}

/// A new password, with a reset token.
#[derive(ToSchema)]
#[schema(as = PasswordReset, example = json!({
    "token": "6b043e22f27c9928d5109a00-4f1c7d7e0f6a4d3cb7a8a5f1a0f0e4d2b2c9a3f85d6e7b8c9d0e1f2a3b4c5d6e",
    "password": "Xyz789!a",
}))]
pub(crate) struct PasswordResetBody {
    /// The token from the operator.
    #[schema(min_length = 1)]
    token: String,
    /// As at registration.
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: String,
}

/// Errors of requests with which a password can be guessed.
#[derive(IntoResponses)]
pub(crate) enum GuessErrors {
    /// There were too many failed attempts, from this address or for this account
    #[response(status = 429, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    TooMany(ServiceError),
}
