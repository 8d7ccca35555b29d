//! Routes with which users change their own accounts: change the password or the e-mail, revoke all tokens, delete the
//! account, and set a password with a reset token from an operator.

use super::{SessionView, UserView, strong_password};
use crate::authorize::{self, token_error};
use crate::bindings::accounts::{self, Session};
use crate::bindings::self_service;
use crate::credentials::is_email;
use crate::guesses::{Guess, try_once};
use crate::http::Request;
use crate::http::error::Error;
use crate::http::json::Fields;
use crate::http::reply::Reply;
use crate::validate::{Input, non_empty_string, string_that};
use serde::Serialize;

#[cfg(test)]
use crate::routes::openapi::account_bodies::{
    EmailChangeBody, GuessErrors, PasswordBody, PasswordChangeBody, PasswordResetBody,
};
#[cfg(test)]
use crate::routes::openapi::bodies::{BodyErrors, Failures, LoginErrors};

/// Revokes all tokens of the user.
///
/// Everybody who is logged in to the account has to log in again.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/revoke", operation_id = "revoke", tag = "auth", security(("bearer" = [])),
    responses(BodyErrors, LoginErrors, Failures, (status = 201, description = "The user", body = UserView)),
))]
pub(super) fn revoke(request: &Request<'_>) -> Result<Reply, Error> {
    let user = self_service::revoke(&token(request)?).map_err(token_error)?;
    Reply::json(201, &UserView::with_role(&user))
}

/// Changes the user's password.
///
/// All tokens are revoked, and the answer has a new one.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/change-password", operation_id = "changePassword", tag = "auth", security(("bearer" = [])),
    request_body = PasswordChangeBody,
    responses(
        BodyErrors, LoginErrors, GuessErrors, Failures,
        (status = 201, description = "The password is changed", body = SessionView),
    ),
))]
pub(super) fn change_password(request: &Request<'_>) -> Result<Reply, Error> {
    let token = token(request)?;
    let (current, new) = password_change(request.body)?;
    let session =
        with_password(request, &token, || self_service::change_password(&token, &current, &new), account_email)?;
    Reply::json(201, &SessionView::with_role(&session))
}

/// Changes the user's e-mail address.
///
/// All tokens are revoked, and the answer has a new one.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/change-email", operation_id = "changeEmail", tag = "auth", security(("bearer" = [])),
    request_body = EmailChangeBody,
    responses(
        BodyErrors, LoginErrors, GuessErrors, Failures,
        (status = 201, description = "The address is changed", body = SessionView),
    ),
))]
pub(super) fn change_email(request: &Request<'_>) -> Result<Reply, Error> {
    let token = token(request)?;
    let (password, email) = email_change(request.body)?;
    let session =
        with_password(request, &token, || self_service::change_email(&token, &password, &email), account_email)?;
    Reply::json(201, &SessionView::with_role(&session))
}

/// Deletes the account.
///
/// Name, e-mail and password are deleted. Orders stay and contain only the user's id, which nobody gets again.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/delete-account", operation_id = "deleteAccount", tag = "auth", security(("bearer" = [])),
    request_body = PasswordBody,
    responses(
        BodyErrors, LoginErrors, GuessErrors, Failures,
        (status = 201, description = "The account is deleted", body = DeletedView),
    ),
))]
pub(super) fn delete(request: &Request<'_>) -> Result<Reply, Error> {
    let token = token(request)?;
    let password = password_alone(request.body)?;
    // After the deletion there is no account for which the source could be remembered.
    let id = with_password(request, &token, || self_service::delete_account(&token, &password), |_| None)?;
    Reply::json(201, &DeletedView { id: &id })
}

/// Sets a new password with a reset token.
///
/// An operator creates such tokens. Each can be used once, within an hour. All login tokens are revoked, and the answer
/// has a new one.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/reset-password", operation_id = "resetPassword", tag = "auth",
    request_body = PasswordResetBody,
    responses(
        BodyErrors, GuessErrors, Failures,
        (status = 201, description = "The password is set", body = SessionView),
    ),
))]
pub(super) fn reset_password(request: &Request<'_>) -> Result<Reply, Error> {
    let (token, password) = password_reset(request.body)?;
    let call = || self_service::reset_password(&token, &password);
    let session = try_once(request, Guess::Existence, call, account_email)?.map_err(|error| match error {
        accounts::Error::Unauthorized => Error::remote(400, "The reset token is not valid"),
        error => super::to_http_error(error),
    })?;
    Reply::json(201, &SessionView::with_role(&session))
}

/// Makes an attempt that proves a password, for the user with this token.
fn with_password<T>(
    request: &Request<'_>,
    token: &str,
    call: impl FnOnce() -> Result<T, accounts::Error>,
    account: impl FnOnce(&T) -> Option<&str>,
) -> Result<T, Error> {
    let user = accounts::verify(token).map_err(token_error)?.user;
    try_once(request, Guess::Password(&user.email), call, account)?.map_err(|error| match error {
        accounts::Error::Unauthorized => Error::unauthorized(),
        error => super::to_http_error(error),
    })
}

/// The account of a session.
fn account_email(session: &Session) -> Option<&str> {
    Some(&session.user.email)
}

fn token(request: &Request<'_>) -> Result<String, Error> {
    let header = request.header("authorization");
    authorize::token(header.as_deref()).map(str::to_owned)
}

fn password_change(body: &Fields<'_>) -> Result<(String, String), Error> {
    let mut input = Input::new(body, &["password", "newPassword"]);
    let current = input.required("password", non_empty_string);
    let new = strong_password(&mut input, "newPassword");
    input.finish(current.zip(new))
}

fn email_change(body: &Fields<'_>) -> Result<(String, String), Error> {
    let mut input = Input::new(body, &["password", "email"]);
    let password = input.required("password", non_empty_string);
    let email = input.required("email", string_that(is_email, "must be an email"));
    input.finish(password.zip(email))
}

fn password_alone(body: &Fields<'_>) -> Result<String, Error> {
    let mut input = Input::new(body, &["password"]);
    let password = input.required("password", non_empty_string);
    input.finish(password)
}

fn password_reset(body: &Fields<'_>) -> Result<(String, String), Error> {
    let mut input = Input::new(body, &["token", "password"]);
    let token = input.required("token", non_empty_string);
    let password = strong_password(&mut input, "password");
    input.finish(token.zip(password))
}

/// A deleted account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DeletedAccount))]
struct DeletedView<'a> {
    /// The id that the user had.
    id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::openapi::example;
    use crate::routes::recorded::sent;

    #[test]
    fn the_described_examples_are_accepted() {
        assert!(password_change(&Fields::parse(&example("PasswordChange")).unwrap()).is_ok());
        assert!(email_change(&Fields::parse(&example("EmailChange")).unwrap()).is_ok());
        assert!(password_alone(&Fields::parse(&example("Password")).unwrap()).is_ok());
        assert!(password_reset(&Fields::parse(&example("PasswordReset")).unwrap()).is_ok());
    }

    #[test]
    fn every_invalid_field_is_named() {
        let (status, body) = sent(password_change(&Fields::parse(r#"{"newPassword":"weak"}"#).unwrap()).unwrap_err());
        assert_eq!(status, 400);
        let messages =
            ["password should not be empty", "password must be a string", "newPassword is not strong enough"];
        assert_eq!(body["message"], serde_json::json!(messages));
    }
}
