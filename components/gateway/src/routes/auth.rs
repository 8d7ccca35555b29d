//! `/api/auth`: register, log in, and see whose token it is.
//!
//! All three answer 201, as they always did. The role is not in the answer: the recorded body has none.

use super::no_route;
use crate::authorize::{bearer, unproved};
use crate::bindings::accounts::{self, NewAccount, Session};
use crate::credentials::{is_email, is_strong_password};
use crate::http::Request;
use crate::http::error::Error;
use crate::http::json::Fields;
use crate::http::reply::Reply;
use crate::validate::{Input, string, string_that};
use serde::Serialize;
use spin_sdk::wasip3::http::types::Method;

#[cfg(test)]
use super::openapi::bodies::{BodyErrors, CredentialsBody, Failures, LoginErrors, NewAccountBody};

/// Answers a request for `/api/auth/...`.
pub(super) fn route(request: &Request<'_>, rest: &[&str]) -> Result<Reply, Error> {
    match (request.method, rest) {
        (Method::Post, [action]) => match action.to_ascii_lowercase().as_str() {
            "register" => register(request.body),
            "login" => login(request.body),
            "verify" => verify(request.header("authorization").as_deref()),
            _ => Err(no_route(request)),
        },
        _ => Err(no_route(request)),
    }
}

/// Makes an account for a customer.
///
/// No other account may have the same e-mail, in letters of whichever case.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/register", operation_id = "register", tag = "auth",
    request_body = NewAccountBody,
    responses(BodyErrors, Failures, (status = 201, description = "The account was made", body = View)),
))]
fn register(body: &Fields<'_>) -> Result<Reply, Error> {
    let session = accounts::register(&new_account(body)?).map_err(refused)?;
    Reply::json(201, &View::of(&session))
}

/// Proves who someone is, by e-mail and password.
///
/// The answer is the same for an unknown e-mail and for a wrong password.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/login", operation_id = "login", tag = "auth",
    request_body = CredentialsBody,
    responses(BodyErrors, Failures, (status = 201, description = "The token to use from now on", body = View)),
))]
fn login(body: &Fields<'_>) -> Result<Reply, Error> {
    let (email, password) = credentials(body)?;
    let session = accounts::login(&email, &password).map_err(refused)?;
    Reply::json(201, &View::of(&session))
}

/// Says whose token it is, and renews it.
///
/// The token that comes back lasts another two hours, but never past 30 days after the login.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/auth/verify", operation_id = "verify", tag = "auth", security(("bearer" = [])),
    responses(
        BodyErrors, LoginErrors, Failures,
        (status = 201, description = "The user, and a new token", body = View),
    ),
))]
fn verify(authorization: Option<&str>) -> Result<Reply, Error> {
    let token = bearer(authorization).ok_or_else(Error::no_token)?;
    let session = accounts::verify(token).map_err(unproved)?;
    Reply::json(201, &View::of(&session))
}

/// What the accounts refuse to register or to log in, as HTTP.
fn refused(error: accounts::Error) -> Error {
    match error {
        accounts::Error::Invalid(message) => Error::remote(400, message),
        accounts::Error::EmailTaken => Error::remote(400, "User already exists"),
        accounts::Error::Unauthorized => Error::remote(400, "User/Password not valid"),
        accounts::Error::Unavailable(_) | accounts::Error::Internal(_) => unproved(error),
    }
}

fn new_account(body: &Fields<'_>) -> Result<NewAccount, Error> {
    let mut input = Input::new(body, &["name", "email", "password"]);
    let name = input.required("name", string);
    let (email, password) = proof(&mut input);
    let account = name.zip(email).zip(password);
    input.finish(account.map(|((name, email), password)| NewAccount { name, email, password }))
}

fn credentials(body: &Fields<'_>) -> Result<(String, String), Error> {
    let mut input = Input::new(body, &["email", "password"]);
    let (email, password) = proof(&mut input);
    input.finish(email.zip(password))
}

/// What proves who someone is, at registration and at every login alike.
fn proof(input: &mut Input<'_>) -> (Option<String>, Option<String>) {
    let email = input.required("email", string_that(is_email, "must be an email"));
    let password = input.required("password", string_that(is_strong_password, "is not strong enough"));
    (email, password)
}

/// A user who has proved who they are.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Session))]
struct View<'a> {
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
}

impl<'a> View<'a> {
    fn of(Session { user, token }: &'a Session) -> Self {
        View { user: UserView { id: &user.id, email: &user.email, name: &user.name }, token }
    }
}

/// What is described in `openapi.json`.
#[cfg(test)]
#[derive(utoipa::OpenApi)]
#[openapi(paths(register, login, verify))]
pub(super) struct Api;

#[cfg(test)]
mod tests;
