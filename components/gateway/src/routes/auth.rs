//! `/api/auth`: registration, login, verification of tokens, and changes of one's own account.
//!
//! All routes answer 201, as the first three (register, log in, verify) did in the NestJS system. The answer to a
//! registration has no role, as there: a new user is always a customer.

mod own;

use super::no_route;
use crate::authorize::{token, token_error};
use crate::bindings::accounts::{self, NewAccount, Role, Session, User};
use crate::credentials::{is_email, is_strong_password, weakness};
use crate::guesses::{Guess, try_once};
use crate::http::Request;
use crate::http::error::Error;
use crate::http::json::{Fields, Value};
use crate::http::reply::Reply;
use crate::validate::{Input, string, string_that};
use serde::Serialize;
use spin_sdk::wasip3::http::types::Method;

#[cfg(test)]
use super::openapi::account_bodies::GuessErrors;
#[cfg(test)]
use super::openapi::bodies::{BodyErrors, CredentialsBody, Failures, LoginErrors, NewAccountBody};

/// Answers a request for `/api/auth/...`.
pub(super) fn route(request: &Request<'_>, rest: &[&str]) -> Result<Reply, Error> {
    match (request.method, rest) {
        (Method::Post, [action]) => match action.to_ascii_lowercase().as_str() {
            "register" => register(request),
            "login" => login(request),
            "verify" => verify(request.header("authorization").as_deref()),
            "revoke" => own::revoke(request),
            "change-password" => own::change_password(request),
            "change-email" => own::change_email(request),
            "delete-account" => own::delete(request),
            "reset-password" => own::reset_password(request),
            _ => Err(no_route(request)),
        },
        _ => Err(no_route(request)),
    }
}

/// Makes an account for a customer.
///
/// No other account may have the same e-mail; upper and lower case do not differ.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/register", operation_id = "register", tag = "auth",
    request_body = NewAccountBody,
    responses(
        BodyErrors, GuessErrors, Failures, (status = 201, description = "The account was made", body = SessionView),
    ),
))]
fn register(request: &Request<'_>) -> Result<Reply, Error> {
    let account = new_account(request.body)?;
    let made = try_once(request, Guess::Existence, || accounts::register(&account), |made| Some(&made.user.email));
    let session = made?.map_err(to_http_error)?;
    Reply::json(201, &SessionView::of(&session))
}

/// Proves who someone is, by e-mail and password.
///
/// The answer is the same for an unknown e-mail and for a wrong password.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/login", operation_id = "login", tag = "auth",
    request_body = CredentialsBody,
    responses(
        BodyErrors, GuessErrors, Failures,
        (status = 201, description = "The token to use from now on", body = SessionView),
    ),
))]
fn login(request: &Request<'_>) -> Result<Reply, Error> {
    let (email, password) = credentials(request.body)?;
    let call = || accounts::login(&email, &password);
    let session = try_once(request, Guess::Password(&email), call, |proved| Some(&proved.user.email))?;
    Reply::json(201, &SessionView::with_role(&session.map_err(to_http_error)?))
}

/// Returns the user to whom the token belongs, and a new token.
///
/// The new token is valid for two hours, but not longer than until 30 days after the login.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/verify", operation_id = "verify", tag = "auth", security(("bearer" = [])),
    responses(
        BodyErrors, LoginErrors, Failures,
        (status = 201, description = "The user, and a new token", body = SessionView),
    ),
))]
fn verify(authorization: Option<&str>) -> Result<Reply, Error> {
    let session = accounts::verify(token(authorization)?).map_err(token_error)?;
    Reply::json(201, &SessionView::with_role(&session))
}

/// Converts an error of a registration or a login.
fn to_http_error(error: accounts::Error) -> Error {
    match error {
        accounts::Error::Invalid(message) => Error::remote(400, message),
        accounts::Error::EmailTaken => Error::remote(400, "User already exists"),
        accounts::Error::Unauthorized => Error::remote(400, "User/Password not valid"),
        accounts::Error::Unavailable(_) | accounts::Error::Internal(_) => token_error(error),
    }
}

fn new_account(body: &Fields<'_>) -> Result<NewAccount, Error> {
    let mut input = Input::new(body, &["name", "email", "password"]);
    let name = input.required("name", string);
    let (email, password) = email_and_password(&mut input);
    let account = name.zip(email).zip(password);
    input.finish(account.map(|((name, email), password)| NewAccount { name, email, password }))
}

fn credentials(body: &Fields<'_>) -> Result<(String, String), Error> {
    let mut input = Input::new(body, &["email", "password"]);
    let (email, password) = email_and_password(&mut input);
    input.finish(email.zip(password))
}

/// E-mail and password, with the same rules at registration and at login.
fn email_and_password(input: &mut Input<'_>) -> (Option<String>, Option<String>) {
    let email = input.required("email", string_that(is_email, "must be an email"));
    (email, strong_password(input, "password"))
}

/// Reads a password that is strong enough to register; otherwise a hint says what it lacks.
fn strong_password(input: &mut Input<'_>, name: &str) -> Option<String> {
    let password = input.required(name, string_that(is_strong_password, "is not strong enough"));
    input.explain(name, password, |value| match value {
        Value::Text(text) => weakness(text),
        _ => None,
    })
}

/// A user who has proved who they are.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Session))]
struct SessionView<'a> {
    user: UserView<'a>,
    /// A JSON Web Token that proves it for two hours, as `Authorization: Bearer TOKEN`.
    token: &'a str,
}

/// A user.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = User))]
struct UserView<'a> {
    id: &'a str,
    /// As the user wrote it.
    email: &'a str,
    name: &'a str,
    /// What they may do: `customer` or `admin`. Absent in the answer to a registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    role: Option<&'static str>,
}

impl<'a> UserView<'a> {
    fn of(user: &'a User) -> Self {
        UserView { id: &user.id, email: &user.email, name: &user.name, role: None }
    }

    fn with_role(user: &'a User) -> Self {
        let role = match user.role {
            Role::Customer => "customer",
            Role::Admin => "admin",
        };
        UserView { role: Some(role), ..UserView::of(user) }
    }
}

impl<'a> SessionView<'a> {
    fn of(Session { user, token }: &'a Session) -> Self {
        SessionView { user: UserView::of(user), token }
    }

    fn with_role(Session { user, token }: &'a Session) -> Self {
        SessionView { user: UserView::with_role(user), token }
    }
}

/// The operations of this module, for `openapi.json`.
#[cfg(test)]
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    register,
    login,
    verify,
    own::revoke,
    own::change_password,
    own::change_email,
    own::delete,
    own::reset_password
))]
pub(super) struct Api;

#[cfg(test)]
mod tests;
