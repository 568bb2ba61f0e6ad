//! The HTTP API: which function answers a route, and whether API Gateway may call it.

use std::collections::BTreeSet;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Function,
    reader::{Reader, Resource},
};

const API: &str = "aws:apigatewayv2/api:Api";
const INTEGRATION: &str = "aws:apigatewayv2/integration:Integration";
const PERMISSION: &str = "aws:lambda/permission:Permission";
const ROUTE: &str = "aws:apigatewayv2/route:Route";
const STAGE: &str = "aws:apigatewayv2/stage:Stage";

/// The HTTP API in front of the functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its identifier.
    pub id: String,
    /// Its routes.
    pub routes: Vec<Route>,
    /// How long it waits for a function.
    pub timeout_milliseconds: u64,
}

/// A route of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method and the path: `POST /jobs`.
    pub key: String,
    /// The name of the function that its integration calls.
    pub function: String,
    /// Whether a permission of the function lets API Gateway call it for this route.
    pub is_permitted: bool,
    /// Who may call it on AWS.
    pub authorization: Authorization,
}

/// Who may call a route on AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Authorization {
    /// Everybody.
    #[serde(rename = "NONE")]
    Open,
    /// Whoever signs the request and is allowed `execute-api:Invoke`.
    #[serde(rename = "AWS_IAM")]
    Iam,
    /// Whoever brings a token of the API's issuer.
    #[serde(rename = "JWT")]
    Jwt,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiInputs {
    protocol_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiOutputs {
    execution_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StageInputs {
    api_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntegrationInputs {
    api_id: String,
    integration_type: String,
    integration_uri: String,
    payload_format_version: String,
    #[serde(default = "milliseconds_max")]
    timeout_milliseconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteInputs {
    api_id: String,
    route_key: String,
    target: String,
    #[serde(default = "open_to_everybody")]
    authorization_type: Authorization,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PermissionInputs {
    action: String,
    /// A name or an ARN.
    function: String,
    principal: String,
    /// Which calls of the principal are meant; all, if not given.
    source_arn: Option<String>,
}

/// How long AWS waits if an integration does not say it.
const MILLISECONDS_MAX: u64 = 30_000;

fn milliseconds_max() -> u64 {
    MILLISECONDS_MAX
}

/// What AWS takes if a route does not say it.
fn open_to_everybody() -> Authorization {
    Authorization::Open
}

type Integration = Resource<IntegrationInputs, IgnoredAny>;
type Permission = Resource<PermissionInputs, IgnoredAny>;

/// Reads the API, which leads to some of `functions`.
pub(super) fn read(reader: &mut Reader<'_>, functions: &[Function]) -> Option<Api> {
    let api = reader.one::<ApiInputs, ApiOutputs>(API);
    let stage = reader.one::<StageInputs, IgnoredAny>(STAGE);
    let integrations = reader.all::<IntegrationInputs, IgnoredAny>(INTEGRATION);
    let routes = reader.all::<RouteInputs, IgnoredAny>(ROUTE);
    let permissions = permissions(reader, functions);
    let ((place, api), (stage_place, stage)) = (api?, stage?);

    reader.expect(&place, "inputs.protocolType", &api.inputs.protocol_type, "HTTP");
    reader.expect(&stage_place, "inputs.name", &stage.inputs.name, "$default");
    reader.expect(&stage_place, "inputs.apiId", &stage.inputs.api_id, &api.id);
    for (place, integration) in &integrations {
        let IntegrationInputs { api_id, integration_type, payload_format_version, .. } =
            &integration.inputs;
        reader.expect(place, "inputs.apiId", api_id, &api.id);
        reader.expect(place, "inputs.integrationType", integration_type, "AWS_PROXY");
        reader.expect(place, "inputs.payloadFormatVersion", payload_format_version, "2.0");
    }
    let routes = routes.into_iter().filter_map(|(place, route)| {
        let RouteInputs { api_id, route_key, target, authorization_type } = route.inputs;
        reader.expect(&place, "inputs.apiId", &api_id, &api.id);
        let function = answering(reader, &place, &target, &integrations, functions)?;
        let call = format!(
            "{}/{}/{}",
            api.outputs.execution_arn,
            stage.inputs.name,
            route_key.replacen(" /", "/", 1)
        );
        let is_permitted =
            permissions.iter().any(|permission| permission.inputs.covers(function, &call));
        let function = function.name.clone();
        let authorization = authorization_type;
        Some(Route { key: route_key, function, is_permitted, authorization })
    });
    let routes = routes.collect();
    let timeouts: BTreeSet<u64> =
        integrations.iter().map(|(_, found)| found.inputs.timeout_milliseconds).collect();
    if timeouts.len() > 1 {
        let problem = format!(
            "its integrations wait for {timeouts:?} ms, and only one time-out runs on a laptop"
        );
        reader.fault(&place, "", problem);
    }
    let timeout_milliseconds = timeouts.into_iter().next().unwrap_or(MILLISECONDS_MAX);
    Some(Api { id: api.id, routes, timeout_milliseconds })
}

/// The function behind the target of a route.
fn answering<'a>(
    reader: &mut Reader<'_>,
    route: &str,
    target: &str,
    integrations: &[(String, Integration)],
    functions: &'a [Function],
) -> Option<&'a Function> {
    let id = target.strip_prefix("integrations/");
    let integration = integrations.iter().find(|(_, integration)| Some(&*integration.id) == id);
    let Some((place, Resource { inputs, .. })) = integration else {
        reader.fault(route, "inputs.target", format!("there is no integration `{target}`"));
        return None;
    };
    let uri = &inputs.integration_uri;
    let function = functions.iter().find(|function| function.invoke_arn == *uri);
    if function.is_none() {
        let problem = format!("no function of the stack is invoked by `{uri}`");
        reader.fault(place, "inputs.integrationUri", problem);
    }
    function
}

/// The permissions of the functions.
fn permissions(reader: &mut Reader<'_>, functions: &[Function]) -> Vec<Permission> {
    let permissions = reader.all::<PermissionInputs, IgnoredAny>(PERMISSION);
    for (place, permission) in &permissions {
        let named = &permission.inputs.function;
        if !functions.iter().any(|function| [&function.name, &function.arn].contains(&named)) {
            let problem = format!("there is no function `{named}` in the stack");
            reader.fault(place, "inputs.function", problem);
        }
    }
    permissions.into_iter().map(|(_, permission)| permission).collect()
}

impl PermissionInputs {
    /// Whether API Gateway may make a call of a function, as Lambda reads the function's policy.
    fn covers(&self, function: &Function, call: &str) -> bool {
        [&function.name, &function.arn].contains(&&self.function)
            && self.action == "lambda:InvokeFunction"
            && self.principal == "apigateway.amazonaws.com"
            && self.source_arn.as_ref().is_none_or(|pattern| is_like(pattern, call))
    }
}

/// Whether a pattern with `*` (any text) and `?` (any one character) stands for the whole text.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN>
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| is_like(rest, &text[at..]))
        }
        Some(expected) => text.chars().next().is_some_and(|found| {
            (expected == '?' || expected == found)
                && is_like(&pattern[expected.len_utf8()..], &text[found.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
    }

    #[test]
    fn a_pattern_stands_for_the_whole_text() {
        let call = "arn:aws:execute-api:us-east-1:000000000000:api/$default/GET/jobs/{run_id}";
        check(call, call, true);
        check("arn:aws:execute-api:us-east-1:000000000000:api/*/GET/jobs/{run_id}", call, true);
        check("arn:aws:execute-api:us-east-1:000000000000:api/*", call, true);
        check("arn:aws:execute-api:us-east-1:000000000000:api/*/GET/jobs/*", call, true);
        check("arn:aws:execute-api:us-east-1:000000000000:ap?/*/*/jobs/*", call, true);
        check("arn:aws:execute-api:us-east-1:000000000000:api/*/POST/jobs/{run_id}", call, false);
        check("arn:aws:execute-api:us-east-1:000000000000:api/*/GET/jobs", call, false);
        check("arn:aws:execute-api:us-east-1:000000000000:other/*", call, false);
        check("*", "", true);
        check("?", "", false);
        check("", "a", false);
    }
}
