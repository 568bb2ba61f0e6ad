//! Who calls, and whether it may.

mod keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, http::request::Parts, middleware};
pub(crate) use keys::access_key_id;
use secrecy::SecretString;

use crate::{
    condition::{ConditionKey, Context},
    decision::Call,
    layer,
    policies::{Policies, Role},
    refusal::Refusal,
    report::Report,
    request::{Access, Names, Unmapped, athena},
};

/// The policies of a deployment, enforced.
///
/// Clones are the same guard.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    policies: Policies,
    names: Arc<dyn Names>,
    /// Access key ids that may do everything.
    administrators: BTreeSet<String>,
    /// By access key id.
    sessions: Mutex<BTreeMap<String, Session>>,
    report: Mutex<Report>,
}

/// A role that somebody has taken.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    role_arn: String,
    name: String,
}

/// Who takes a role.
#[derive(Clone, Copy, Debug)]
pub enum Assumer<'a> {
    /// The function of that name. Lambda says nothing about it to the role's trust policy.
    Function(&'a str),
    /// The state machine with that ARN.
    StateMachine(&'a str),
    /// A schedule of the group with that ARN.
    ScheduleGroup(&'a str),
}

/// The credentials of a role that was taken.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`: what a caller is known by.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: SecretString,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: SecretString,
}

/// Whom a request comes from.
pub(crate) enum Caller {
    Administrator,
    Role(Session),
}

impl Guard {
    /// Enforces these policies. Whoever has an access key id of the administrators may do everything.
    pub fn new(
        policies: Policies,
        names: Arc<dyn Names>,
        administrators: impl IntoIterator<Item = String>,
    ) -> Self {
        Self(Arc::new(Inner {
            report: Mutex::new(Report::of(&policies)),
            policies,
            names,
            administrators: administrators.into_iter().collect(),
            sessions: Mutex::default(),
        }))
    }

    /// Gives out credentials of a role, if the role's trust policy lets the service take it.
    pub fn assume(&self, assumer: Assumer<'_>, role_arn: &str) -> Result<AccessKey, Refusal> {
        let (service, context) = (assumer.service(), assumer.context());
        let role = self.0.policies.roles.get(role_arn);
        if !role.is_some_and(|role| role.trusts(service, &context)) {
            return Err(Refusal::NotTrusted { service, role: role_arn.to_owned() });
        }
        let key = AccessKey::random();
        let session = Session { role_arn: role_arn.to_owned(), name: assumer.session_name() };
        lock(&self.0.sessions).insert(key.id.clone(), session);
        Ok(key)
    }

    /// Whether the holder of an access key may do all of this. What is allowed goes into the report,
    /// and so does what is not.
    pub fn authorize(&self, access_key_id: &str, calls: &[Call]) -> Result<(), Refusal> {
        match self.caller(access_key_id)? {
            Caller::Administrator => Ok(()),
            Caller::Role(session) => self.authorize_session(&session, calls),
        }
    }

    /// What reading an object takes, for who reads it without a request.
    pub fn reading(&self, bucket: &str, key: &str) -> Vec<Call> {
        self.0.policies.reading(bucket, key, false)
    }

    /// Calls that a query makes of the catalog as it runs, besides the right to start it.
    pub fn querying(&self, sql: &str, catalog: Option<&str>, database: Option<&str>) -> Vec<Call> {
        athena::of_catalog(&self.0.policies, &*self.0.names, sql, catalog, database)
    }

    /// Calls that a query makes to write its result.
    pub fn writing_results(&self, bucket: &str, key: &str) -> Vec<Call> {
        athena::of_results(&self.0.policies, bucket, key)
    }

    /// Whether a service may do this for itself and for the resource `source_arn`, as the HTTP API
    /// calls a function for a route.
    pub fn authorize_service(
        &self,
        service: &str,
        source_arn: &str,
        mut call: Call,
    ) -> Result<(), Refusal> {
        call.context = on_behalf_of(call.context, source_arn);
        self.0.policies.decide_for_service(service, &call).map_err(|denial| Refusal::Denied {
            user: service.to_owned(),
            call,
            denial,
        })
    }

    /// The router behind the guard: what is refused does not reach it.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), layer::enforce))
    }

    /// What was used of the policies until now.
    pub fn report(&self) -> Report {
        lock(&self.0.report).clone()
    }

    /// Who has an access key.
    pub(crate) fn caller(&self, access_key_id: &str) -> Result<Caller, Refusal> {
        if self.0.administrators.contains(access_key_id) {
            return Ok(Caller::Administrator);
        }
        let session = lock(&self.0.sessions).get(access_key_id).cloned();
        session.map(Caller::Role).ok_or(Refusal::UnknownKey)
    }

    /// What a request needs; the body matters only if the protocol has the operation's parameters
    /// there.
    pub(crate) fn access(&self, parts: &Parts, body: &[u8]) -> Result<Access, Unmapped> {
        Access::of(&self.0.policies, &*self.0.names, parts, body)
    }

    /// Whether the holder of a role may do all of this.
    pub(crate) fn authorize_session(
        &self,
        session: &Session,
        calls: &[Call],
    ) -> Result<(), Refusal> {
        let policies = &self.0.policies;
        let role = &policies.roles[&session.role_arn];
        let mut report = lock(&self.0.report);
        for call in calls {
            match policies.decide(&session.role_arn, role, call) {
                Ok(statements) => report.allowed(role, &statements, &call.action),
                Err(denial) => {
                    report.refused(role, call);
                    let user = session.arn(policies, role);
                    return Err(Refusal::Denied { user, call: call.clone(), denial });
                }
            }
        }
        Ok(())
    }
}

impl Session {
    fn arn(&self, policies: &Policies, role: &Role) -> String {
        format!("arn:aws:sts::{}:assumed-role/{}/{}", policies.account, role.name, self.name)
    }
}

impl Assumer<'_> {
    fn service(self) -> &'static str {
        match self {
            Self::Function(_) => "lambda.amazonaws.com",
            Self::StateMachine(_) => "states.amazonaws.com",
            Self::ScheduleGroup(_) => "scheduler.amazonaws.com",
        }
    }

    /// The function's name, as on AWS; other services take random ones.
    fn session_name(self) -> String {
        match self {
            Self::Function(name) => name.to_owned(),
            Self::StateMachine(arn) | Self::ScheduleGroup(arn) => {
                arn.rsplit([':', '/']).next().unwrap_or(arn).to_owned()
            }
        }
    }

    fn context(self) -> Context {
        match self {
            Self::Function(_) => Context::new(),
            Self::StateMachine(arn) | Self::ScheduleGroup(arn) => on_behalf_of(Context::new(), arn),
        }
    }
}

fn on_behalf_of(context: Context, arn: &str) -> Context {
    let account = arn.split(':').nth(4).unwrap_or_default();
    context.with(ConditionKey::SourceArn, arn).with(ConditionKey::SourceAccount, account)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
