//! A function behind an HTTP API, written with `lambda_http`. The tests send requests through to it.

use std::time::Duration;

use lambda_http::http::header::{COOKIE, LOCATION, SET_COOKIE};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Error, Request, RequestExt, RequestPayloadExt, Response, run, service_fn};
use serde_json::{Value, json};

async fn handle(request: Request) -> Result<Response<Body>, Error> {
    let RequestContext::ApiGatewayV2(context) = request.request_context() else {
        return Err("the event is not of payload format 2.0".into());
    };
    Ok(match context.route_key.as_deref() {
        Some("POST /jobs") => {
            let job: Option<Value> = request.json().map_err(|error| format!("{error:?}"))?;
            Response::builder()
                .status(202)
                .header(LOCATION, "/jobs/r-1")
                .header(SET_COOKIE, "a=1")
                .header(SET_COOKIE, "b=2; Path=/")
                .body(Body::Text(json!({ "job": job }).to_string()))?
        }
        Some("GET /binary") => Response::builder()
            .header("content-type", "application/octet-stream")
            .body(Body::Binary(vec![0, 159, 146, 150]))?,
        Some("GET /slow") => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            Response::new(Body::Empty)
        }
        Some("GET /fail") => return Err("no luck".into()),
        route_key => {
            let cookies: Vec<_> =
                request.headers().get_all(COOKIE).iter().map(|c| c.to_str().ok()).collect();
            let seen = json!({
                "route": route_key,
                "method": request.method().as_str(),
                "path": request.raw_http_path(),
                "parameters": request.path_parameters().iter().collect::<Vec<_>>(),
                "query": request.query_string_parameters().iter().collect::<Vec<_>>(),
                "cookies": cookies,
                "body": String::from_utf8_lossy(request.body()),
            });
            Response::builder()
                .header("content-type", "application/json")
                .body(seen.to_string().into())?
        }
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}
