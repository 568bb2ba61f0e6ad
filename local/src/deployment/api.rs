//! The HTTP API: which function answers a route.

use std::collections::BTreeSet;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Function,
    reader::{Reader, Resource},
};

const API: &str = "aws:apigatewayv2/api:Api";
const INTEGRATION: &str = "aws:apigatewayv2/integration:Integration";
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
    /// On whose behalf API Gateway calls the function: the route, in the API's only stage.
    pub arn: String,
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

/// Reads the API, which leads to some of `functions`.
pub(super) fn read(reader: &mut Reader<'_>, functions: &[Function]) -> Option<Api> {
    let api = reader.one::<ApiInputs, ApiOutputs>(API);
    let stage = reader.one::<StageInputs, IgnoredAny>(STAGE);
    let integrations = reader.all::<IntegrationInputs, IgnoredAny>(INTEGRATION);
    let routes = reader.all::<RouteInputs, IgnoredAny>(ROUTE);
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
        let arn = format!(
            "{}/{}/{}",
            api.outputs.execution_arn,
            stage.inputs.name,
            route_key.replacen(" /", "/", 1)
        );
        let function = function.name.clone();
        Some(Route { key: route_key, function, arn, authorization: authorization_type })
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
