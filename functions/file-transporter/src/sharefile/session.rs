//! A login and what is done with it.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Method, StatusCode, header::LOCATION};
use job::transport::{ShareFileConfig, TransportProblem};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::{
    address::{self, Address},
    answer::{self, Kind, Uploaded, Verdict},
    http::{Answer, Content, Http, Request},
    patience::Patience,
    said::fit_to_be_shown,
    trouble::Trouble,
};
use crate::error::Error;

/// How often an answer may point to another address.
const REDIRECTIONS_MAX: u32 = 5;

/// How often there is a login: once, and once more when the token is not accepted any longer.
const LOGINS_MAX: u32 = 2;

/// What is needed to log in.
pub(super) struct Credentials<'a> {
    client_id: &'a str,
    client_secret: &'a SecretString,
    username: &'a str,
    password: &'a SecretString,
}

impl<'a> Credentials<'a> {
    /// The credentials of `config`, which are there when its secret has been looked up.
    ///
    /// # Errors
    ///
    /// Names all that are missing.
    pub(super) fn new(config: &'a ShareFileConfig) -> Result<Self, Error> {
        let fields = (
            config.client_id.as_deref(),
            config.client_secret.as_ref(),
            config.username.as_deref(),
            config.password.as_ref(),
        );
        if let (Some(client_id), Some(client_secret), Some(username), Some(password)) = fields {
            return Ok(Self { client_id, client_secret, username, password });
        }
        let missing = [
            ("client_id", fields.0.is_none()),
            ("client_secret", fields.1.is_none()),
            ("username", fields.2.is_none()),
            ("password", fields.3.is_none()),
        ];
        let problems = missing.into_iter().filter(|(_, is_missing)| *is_missing);
        let problems = problems.map(|(field, _)| TransportProblem {
            path: format!("config.{field}"),
            message: "is missing, also in the secret".to_owned(),
        });
        Err(Error::Configuration { problems: problems.collect() })
    }

    fn form(&self) -> SecretString {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "password")
            .append_pair("client_id", self.client_id)
            .append_pair("client_secret", self.client_secret.expose_secret())
            .append_pair("username", self.username)
            .append_pair("password", self.password.expose_secret());
        form.finish().into()
    }
}

/// A token and where it is good.
#[derive(Clone)]
pub(super) struct Token {
    text: SecretString,
    /// Where the API answers.
    pub(super) api: Address,
    /// Which login of this session it came from, counted from 1.
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

/// A login, the connection to the API, and the limits that hold for all requests.
pub(super) struct Session<'a> {
    pub(super) config: &'a ShareFileConfig,
    credentials: &'a Credentials<'a>,
    http: Http,
    token: Mutex<Option<Token>>,
    /// Whether the upload addresses want to see the token too.
    shows_token_to_storage: AtomicBool,
}

/// A request to the API.
pub(super) struct Call<'a> {
    /// What is being done to what, for errors.
    pub(super) action: &'a str,
    pub(super) address: &'a Address,
    /// What is posted; without it, it is a `GET`.
    pub(super) json: Option<&'a Value>,
}

impl<'a> Session<'a> {
    /// A session that gives up at `until`.
    pub(super) fn new(
        config: &'a ShareFileConfig,
        credentials: &'a Credentials<'a>,
        until: Instant,
    ) -> Result<Self, Error> {
        Ok(Self {
            config,
            credentials,
            http: Http::new(config, until)?,
            token: Mutex::new(None),
            shows_token_to_storage: AtomicBool::new(false),
        })
    }

    /// When every request is given up.
    pub(super) fn until(&self) -> Instant {
        self.http.until()
    }

    /// The tries of one request.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.config.sharefile_max_attempts.get(), self.until())
    }

    /// Asks the API, and follows where it points to. The second value is the address that answered.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<(Value, Address), Trouble> {
        let mut address = call.address.clone();
        let mut redirections = 0;
        loop {
            match self.call_one(call, &address).await? {
                Target::Here(value) => return Ok((value, address)),
                Target::There(_) if redirections == REDIRECTIONS_MAX => {
                    return Err(redirected(call, "once too often").into());
                }
                Target::There(text) => {
                    redirections += 1;
                    address = address.join(&text).map_err(|fault| redirected(call, fault))?;
                }
            }
        }
    }

    /// Asks one address until it answers, logging in again if it does not know the token.
    async fn call_one(&self, call: &Call<'_>, address: &Address) -> Result<Target, Trouble> {
        let mut patience = self.patience();
        let mut token = self.token().await?;
        loop {
            let trouble = match self.call_once(call, address, &token).await {
                Ok(target) => return Ok(target),
                Err(trouble) => trouble,
            };
            if trouble.kind == Some(Kind::Unauthenticated) && token.api.trusts(address) {
                token = self.renew(&token, trouble).await?;
            } else {
                patience.after(trouble).await?;
            }
        }
    }

    async fn call_once(
        &self,
        call: &Call<'_>,
        address: &Address,
        token: &Token,
    ) -> Result<Target, Trouble> {
        let json = |value: &Value| Content::Json(value.to_string().into_bytes());
        let request = Request {
            action: call.action,
            method: if call.json.is_some() { Method::POST } else { Method::GET },
            address,
            token: token.api.trusts(address).then_some(&token.text),
            content: call.json.map_or(Content::Nothing, json),
            is_finish: false,
        };
        let answer = self.http.send(request).await?;
        if call.json.is_none() && answer.status.is_redirection() {
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| redirected(call, "it does not say which"))?;
            return Ok(Target::There(location.to_owned()));
        }
        let judged = answer::of_api(&answer);
        let value = judged.map_err(|verdict| self.trouble(call.action, verdict, &answer, token))?;
        let is_redirection =
            value["odata.type"].as_str().is_some_and(|kind| kind.ends_with(".Redirection"));
        if !is_redirection {
            return Ok(Target::Here(value));
        }
        let uri = value["Uri"].as_str().ok_or_else(|| redirected(call, "it does not say which"))?;
        Ok(Target::There(uri.to_owned()))
    }

    /// Sends something to an upload address, once. The token is shown only if it is asked for.
    pub(super) async fn upload_once(&self, upload: Upload<'_>) -> Result<Uploaded, Trouble> {
        let Upload { action, method, address, content, is_finish } = upload;
        let token = self.token().await?;
        let shown = self.shows_token_to_storage.load(Ordering::Relaxed).then_some(&token.text);
        let request = Request { action, method, address, token: shown, content, is_finish };
        let answer = self.http.send(request).await?;
        let mut verdict = match answer::of_upload(&answer) {
            Ok(uploaded) => return Ok(uploaded),
            Err(verdict) => verdict,
        };
        if verdict.kind == Kind::NotFound {
            verdict.kind = Kind::UploadGone;
        }
        let trouble = self.trouble(action, verdict, &answer, &token);
        if trouble.kind != Some(Kind::Unauthenticated) {
            return Err(trouble);
        }
        if shown.is_some() {
            self.renew(&token, trouble).await?;
        }
        self.shows_token_to_storage.store(true, Ordering::Relaxed);
        let said = "it asks for the token".to_owned();
        Err(Trouble::new(action, Verdict { kind: Kind::AskedForToken, said }, None))
    }

    fn trouble(&self, action: &str, verdict: Verdict, answer: &Answer, token: &Token) -> Trouble {
        let Verdict { kind, said } = verdict;
        let said = self.fit_to_be_shown(&said, Some(&token.text));
        let verdict = Verdict { kind, said: said.clone() };
        let trouble = Trouble::new(action, verdict, answer::retry_after(answer));
        if kind != Kind::Unauthenticated {
            return trouble;
        }
        let error = Error::Login {
            server: token.api.host(),
            user: self.credentials.username.to_owned(),
            reason: format!("the token is not accepted, {action}: {said}"),
        };
        Trouble { error, ..trouble }
    }

    fn fit_to_be_shown(&self, text: &str, token: Option<&SecretString>) -> String {
        let Credentials { client_secret, password, .. } = *self.credentials;
        fit_to_be_shown(text, [client_secret, password].into_iter().chain(token))
    }

    /// The token, after a login if there was none.
    pub(super) async fn token(&self) -> Result<Token, Error> {
        let mut token = self.token.lock().await;
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        Ok(token.insert(self.log_in(1).await?).clone())
    }

    /// Another token than `refused`: one that was fetched meanwhile, or a new one.
    async fn renew(&self, refused: &Token, trouble: Trouble) -> Result<Token, Trouble> {
        let mut token = self.token.lock().await;
        match &*token {
            Some(newer) if newer.login > refused.login => Ok(newer.clone()),
            _ if refused.login >= LOGINS_MAX => Err(trouble),
            _ => {
                tracing::info!("ShareFile does not accept the token any longer; logging in again");
                Ok(token.insert(self.log_in(refused.login + 1).await?).clone())
            }
        }
    }

    async fn log_in(&self, login: u32) -> Result<Token, Error> {
        let address = address::token_address(self.config)?;
        let action = format!("logging in to `{}`", address.host());
        let mut patience = self.patience();
        loop {
            let request = Request {
                action: &action,
                method: Method::POST,
                address: &address,
                token: None,
                content: Content::Form(self.credentials.form()),
                is_finish: false,
            };
            let trouble = match self.http.send(request).await {
                Err(error) => error.into(),
                Ok(answer) => match self.token_of(&answer, &address, login) {
                    Ok(token) => return Ok(token),
                    Err(error) => {
                        Trouble { wait: answer::retry_after(&answer), ..Trouble::from(error) }
                    }
                },
            };
            patience.after(trouble).await?;
        }
    }

    fn token_of(&self, answer: &Answer, address: &Address, login: u32) -> Result<Token, Error> {
        let server = address.host();
        let action = format!("logging in to `{server}`");
        if answer.status != StatusCode::OK {
            return Err(self.login_error(answer, server, action));
        }
        let unusable = |message: &str| Error::Unsupported {
            action: action.clone(),
            message: message.to_owned(),
        };
        // The text of a `serde` error may hold a part of the token.
        let TokenAnswer { access_token: token, apicp, subdomain } =
            serde_json::from_slice(&answer.body)
                .map_err(|_| unusable("what answers does not give a token"))?;
        let not_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (subdomain, apicp) = (not_empty(&subdomain), not_empty(&apicp));
        let api = address::api_address(self.config, subdomain.as_deref(), apicp.as_deref())
            .map_err(|fault| {
                unusable(&format!("the address of the API can not be used: {fault}"))
            })?;
        Ok(Token { text: token, api, login })
    }

    /// What a refused login means. Credentials that are rejected are not tried again: that would
    /// lock the account.
    fn login_error(&self, answer: &Answer, server: String, action: String) -> Error {
        let status = answer.status;
        let told = serde_json::from_slice::<TokenError>(&answer.body).ok();
        let said = told.map(|told| {
            let description = told.error_description.unwrap_or_default();
            self.fit_to_be_shown(&format!("{} {description}", told.error), None)
        });
        let message =
            said.map_or_else(|| format!("HTTP {status}"), |s| format!("HTTP {status}: {s}"));
        match status.as_u16() {
            408 | 429 | 500.. => Error::Busy { action, message },
            400 | 401 | 403 => {
                Error::Login { server, user: self.credentials.username.to_owned(), reason: message }
            }
            _ => Error::Unsupported { action, message },
        }
    }
}

/// Where an answer is.
enum Target {
    Here(Value),
    There(String),
}

/// Something for an upload address.
pub(super) struct Upload<'a> {
    /// What is being done to what, for errors.
    pub(super) action: &'a str,
    pub(super) method: Method,
    pub(super) address: &'a Address,
    pub(super) content: Content,
    /// Whether it is the last request of an upload.
    pub(super) is_finish: bool,
}

fn redirected(call: &Call<'_>, fault: &str) -> Error {
    Error::Unsupported {
        action: call.action.to_owned(),
        message: format!("it points to another address: {fault}"),
    }
}
