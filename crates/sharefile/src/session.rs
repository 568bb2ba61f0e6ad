//! A login, and the requests that are made with it.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Method, StatusCode, header::LOCATION};
use job::transport::ShareFileConfig;
use rustls::ClientConfig;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    address::{self, Address},
    credentials::Credentials,
    error::Error,
    http::{Http, Payload, Request, Response, Unanswered},
    redact::redact,
    request_error::{RequestError, RequestRetry},
    response::{self, Rejection, RejectionKind, Uploaded},
};

/// Number of redirections that one request follows.
const REDIRECTIONS_MAX: u32 = 5;

/// Number of logins of a session: one, and another when the server ends the token.
const LOGINS_MAX: u32 = 2;

/// A token and the API that takes it.
#[derive(Clone)]
pub(crate) struct Token {
    text: SecretString,
    /// Address of the API.
    pub(crate) api: Address,
    /// Number of its login in this session, from 1.
    login: u32,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    apicp: Option<String>,
    subdomain: Option<String>,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    error_description: Option<String>,
}

/// A login, the connections to the API, and the limits of all requests.
pub(crate) struct Session<'a> {
    pub(crate) config: &'a ShareFileConfig,
    credentials: &'a Credentials<'a>,
    http: Http,
    token: Mutex<Option<Token>>,
    /// Whether the upload addresses want to see the token, too.
    shows_token_to_storage: AtomicBool,
}

/// A request to the API.
pub(crate) struct ApiCall<'a> {
    /// The action for errors.
    pub(crate) action: &'a str,
    pub(crate) address: &'a Address,
    /// Body of a `POST`; nothing for a `GET`.
    pub(crate) json: Option<&'a Value>,
}

/// A request to an upload address.
pub(crate) struct UploadCall<'a> {
    /// The action for errors.
    pub(crate) action: &'a str,
    pub(crate) method: Method,
    pub(crate) address: &'a Address,
    pub(crate) payload: Payload,
    /// Whether it is the last request of an upload.
    pub(crate) is_finish: bool,
}

/// The place of an answer.
enum Answer {
    Here(Value),
    At(String),
}

impl<'a> Session<'a> {
    /// Prepares a session that gives every request up at `until`. The first request logs in.
    pub(crate) fn new(
        config: &'a ShareFileConfig,
        credentials: &'a Credentials<'a>,
        tls: ClientConfig,
        until: Instant,
    ) -> Self {
        Self {
            config,
            credentials,
            http: Http::new(config, tls, until),
            token: Mutex::new(None),
            shows_token_to_storage: AtomicBool::new(false),
        }
    }

    /// Begins the tries of one request.
    pub(crate) fn retry(&self) -> RequestRetry {
        RequestRetry::new(self.config.sharefile_max_attempts.get(), self.http.until())
    }

    /// Asks the API, and follows redirections. The second value is the address that answered.
    pub(crate) async fn call(&self, call: &ApiCall<'_>) -> Result<(Value, Address), RequestError> {
        let mut address = call.address.clone();
        let mut redirections = 0;
        loop {
            match self.call_address(call, &address).await? {
                Answer::Here(value) => return Ok((value, address)),
                Answer::At(_) if redirections == REDIRECTIONS_MAX => {
                    return Err(redirected(call, "once too often").into());
                }
                Answer::At(text) => {
                    redirections += 1;
                    address = address.join(&text).map_err(|fault| redirected(call, fault))?;
                }
            }
        }
    }

    /// Asks one address until it answers. Logs in again if it does not know the token.
    async fn call_address(
        &self,
        call: &ApiCall<'_>,
        address: &Address,
    ) -> Result<Answer, RequestError> {
        let mut retry = self.retry();
        let mut token = self.token().await?;
        loop {
            let error = match self.call_once(call, address, &token).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_unknown = error.kind == Some(RejectionKind::Unauthenticated);
            if is_unknown && token.api.trusts(address) {
                token = self.renew(&token, error).await?;
            } else {
                retry.after(error).await?;
            }
        }
    }

    async fn call_once(
        &self,
        call: &ApiCall<'_>,
        address: &Address,
        token: &Token,
    ) -> Result<Answer, RequestError> {
        let json = |value: &Value| Payload::Json(value.to_string().into_bytes());
        let request = Request {
            action: call.action,
            method: if call.json.is_some() { Method::POST } else { Method::GET },
            address,
            token: token.api.trusts(address).then_some(&token.text),
            payload: call.json.map_or(Payload::Empty, json),
            is_finish: false,
        };
        let response = self.http.send(request).await?;
        if call.json.is_none() && response.status.is_redirection() {
            let location = location(&response);
            let location = location.ok_or_else(|| redirected(call, "it does not say which"))?;
            return Ok(Answer::At(location.to_owned()));
        }
        let value = response::of_api(&response)
            .map_err(|rejection| self.rejected(call.action, rejection, &response, token))?;
        let is_redirection =
            value["odata.type"].as_str().is_some_and(|kind| kind.ends_with(".Redirection"));
        if !is_redirection {
            return Ok(Answer::Here(value));
        }
        let uri = value["Uri"].as_str().ok_or_else(|| redirected(call, "it does not say which"))?;
        Ok(Answer::At(uri.to_owned()))
    }

    /// Sends one request to an upload address, once. The token is shown only if it is asked for.
    pub(crate) async fn upload_once(&self, call: UploadCall<'_>) -> Result<Uploaded, RequestError> {
        let UploadCall { action, method, address, payload, is_finish } = call;
        let token = self.token().await?;
        let shown = self.shows_token_to_storage.load(Ordering::Relaxed).then_some(&token.text);
        let request = Request { action, method, address, token: shown, payload, is_finish };
        let response = self.http.send(request).await?;
        let rejection = match response::of_upload(&response) {
            Ok(uploaded) => return Ok(self.sanitized(uploaded, &token)),
            Err(rejection) => rejection,
        };
        let error = self.rejected(action, rejection, &response, &token);
        if error.kind != Some(RejectionKind::Unauthenticated) {
            return Err(error);
        }
        if shown.is_some() {
            self.renew(&token, error).await?;
        }
        self.shows_token_to_storage.store(true, Ordering::Relaxed);
        let text = "it asks for the token".to_owned();
        Err(RequestError::new(action, Rejection { kind: RejectionKind::TokenWanted, text }, None))
    }

    fn rejected(
        &self,
        action: &str,
        rejection: Rejection,
        response: &Response,
        token: &Token,
    ) -> RequestError {
        let Rejection { kind, text } = rejection;
        let text = self.redact(&text, Some(&token.text));
        let rejection = Rejection { kind, text: text.clone() };
        let error = RequestError::new(action, rejection, response::retry_after(response));
        if kind != RejectionKind::Unauthenticated {
            return error;
        }
        let reason = format!("the token is not accepted, {action}: {text}");
        RequestError { error: self.rejected_login(token.api.host(), reason), ..error }
    }

    /// Returns what an upload address tells of a file, fit for the receipt. The name is left as it
    /// is, because the folder is asked for it: see [`Session::sanitize`].
    fn sanitized(&self, uploaded: Uploaded, token: &Token) -> Uploaded {
        let told = |text: Option<String>| text.filter(|text| !text.is_empty());
        let fit = |text| told(text).map(|text| self.redact(&text, Some(&token.text)));
        let Uploaded { name, id, size, md5 } = uploaded;
        Uploaded { name: told(name), id: fit(id), size, md5: fit(md5) }
    }

    /// Returns a text of the server without the secrets, fit to be shown.
    pub(crate) async fn sanitize(&self, text: &str) -> Result<String, Error> {
        let token = self.token().await?;
        Ok(self.redact(text, Some(&token.text)))
    }

    fn redact(&self, text: &str, token: Option<&SecretString>) -> String {
        let Credentials { client_secret, password, .. } = *self.credentials;
        redact(text, [client_secret, password].into_iter().chain(token))
    }

    fn rejected_login(&self, server: String, reason: String) -> Error {
        Error::Login { server, user: self.credentials.username.to_owned(), reason }
    }

    /// Returns the token, after a login if there was none.
    pub(crate) async fn token(&self) -> Result<Token, Error> {
        let mut token = self.token.lock().await;
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        Ok(token.insert(self.log_in(1).await?).clone())
    }

    /// Returns another token than `refused`: one that was fetched meanwhile, or a new one.
    async fn renew(&self, refused: &Token, error: RequestError) -> Result<Token, RequestError> {
        let mut token = self.token.lock().await;
        match &*token {
            Some(newer) if newer.login > refused.login => Ok(newer.clone()),
            _ if refused.login >= LOGINS_MAX => Err(error),
            _ => {
                tracing::info!("ShareFile does not accept the token any longer; logging in again");
                Ok(token.insert(self.log_in(refused.login + 1).await?).clone())
            }
        }
    }

    /// Logs in. The credentials are sent once: only a connection that was never made is tried again.
    async fn log_in(&self, login: u32) -> Result<Token, Error> {
        let address = address::token_address(self.config)?;
        let action = format!("logging in to `{}`", address.host());
        let mut retry = self.retry();
        loop {
            let request = Request {
                action: &action,
                method: Method::POST,
                address: &address,
                token: None,
                payload: Payload::Form(self.credentials.form()),
                is_finish: false,
            };
            match self.http.send(request).await {
                Ok(response) => return self.token_of(&response, &address, login),
                Err(Unanswered { error: error @ Error::Connect { .. }, .. }) => {
                    retry.after(error.into()).await?;
                }
                Err(unanswered) => return Err(unanswered.error),
            }
        }
    }

    fn token_of(&self, response: &Response, address: &Address, login: u32) -> Result<Token, Error> {
        let server = address.host();
        let action = format!("logging in to `{server}`");
        if let Some(answer) = sign_on_page(response, address) {
            let user = self.credentials.username.to_owned();
            return Err(Error::SingleSignOn { server, user, answer });
        }
        if response.status != StatusCode::OK {
            return Err(self.login_error(response, server, action));
        }
        let unusable =
            |message: &str| Error::Protocol { action: action.clone(), message: message.to_owned() };
        // The text of a `serde` error may hold a part of the token.
        let TokenAnswer { access_token: text, apicp, subdomain } =
            serde_json::from_slice(&response.body)
                .map_err(|_| unusable("it does not hold a token"))?;
        let not_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (subdomain, apicp) = (not_empty(&subdomain), not_empty(&apicp));
        let api = address::api_address(self.config, subdomain.as_deref(), apicp.as_deref())
            .map_err(|fault| unusable(&format!("the address of the API: {fault}")))?;
        Ok(Token { text, api, login })
    }

    /// Returns the error of a refused login. Rejected credentials are not sent again, because that
    /// would lock the account.
    fn login_error(&self, response: &Response, server: String, action: String) -> Error {
        let status = response.status;
        let told = serde_json::from_slice::<TokenError>(&response.body).ok();
        let text = told.map(|told| {
            let description = told.error_description.unwrap_or_default();
            self.redact(&format!("{} {description}", told.error), None)
        });
        let message =
            text.map_or_else(|| format!("HTTP {status}"), |text| format!("HTTP {status}: {text}"));
        match status.as_u16() {
            408 | 429 | 500.. => {
                Error::Busy { action, message, wait: response::retry_after(response) }
            }
            400 | 401 | 403 => self.rejected_login(server, message),
            _ => Error::Protocol { action, message },
        }
    }
}

/// Describes the answer to a login that sends a person to another page: an account with SSO redirects
/// the password grant to its identity provider, or shows that provider's page.
fn sign_on_page(response: &Response, address: &Address) -> Option<String> {
    let status = response.status;
    if status.is_redirection() {
        let there = location(response).and_then(|text| address.join(text).ok());
        let there = there.map(|there| format!(" to `{}`", there.host())).unwrap_or_default();
        return Some(format!("the answer is a redirection{there}"));
    }
    // A page with the status 404 or 503 is not the account's.
    let is_of_login = matches!(status.as_u16(), 200 | 400 | 401 | 403);
    let is_page = response.body.trim_ascii_start().starts_with(b"<");
    (is_of_login && is_page).then(|| format!("the answer is a page of HTML with HTTP {status}"))
}

fn location(response: &Response) -> Option<&str> {
    response.headers.get(LOCATION).and_then(|value| value.to_str().ok())
}

fn redirected(call: &ApiCall<'_>, fault: &str) -> Error {
    Error::Protocol {
        action: call.action.to_owned(),
        message: format!("it points to another address: {fault}"),
    }
}
