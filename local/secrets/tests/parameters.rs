//! The Parameter Store, by its protocol.

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use local_secrets::{Config, SecretStores, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

struct Client(SecretStores);

impl Client {
    fn new() -> Self {
        let config = Config { account: "000000000000".into(), region: "eu-central-1".into() };
        Self(SecretStores::new(&config))
    }

    /// The status and the answer; of a refusal, the error's name.
    async fn call(&self, operation: &str, body: Value) -> (u16, Value) {
        let request = Request::post("/")
            .header("x-amz-target", format!("AmazonSSM.{operation}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = router(self.0.clone()).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        (status, if status == 200 { answer } else { answer["__type"].clone() })
    }

    /// The type, version and value of a parameter.
    async fn value(&self, name: &str, decrypt: bool) -> Value {
        let request = json!({ "Name": name, "WithDecryption": decrypt });
        let (status, answer) = self.call("GetParameter", request).await;
        assert_eq!(status, 200, "{answer}");
        let parameter = &answer["Parameter"];
        json!([parameter["Type"], parameter["Version"], parameter["Value"]])
    }
}

#[tokio::test]
async fn a_parameter_is_put_read_replaced_and_deleted() {
    let client = Client::new();
    let put = |value: &str, overwrite: bool| json!({ "Name": "/a/b", "Type": "SecureString", "Value": value, "Overwrite": overwrite });
    let made = (200, json!({ "Version": 1, "Tier": "Standard" }));
    assert_eq!(client.call("PutParameter", put("one", false)).await, made);
    let refused = (400, json!("ParameterAlreadyExists"));
    assert_eq!(client.call("PutParameter", put("two", false)).await, refused);
    let replaced = (200, json!({ "Version": 2, "Tier": "Standard" }));
    assert_eq!(client.call("PutParameter", put("two", true)).await, replaced);

    assert_eq!(client.value("/a/b", true).await, json!(["SecureString", 2, "two"]));
    assert_eq!(client.value("/a/b:1", true).await, json!(["SecureString", 1, "one"]));
    let arn = "arn:aws:ssm:eu-central-1:000000000000:parameter/a/b";
    assert_eq!(client.value(arn, true).await, json!(["SecureString", 2, "two"]));
    let encrypted = client.value("/a/b", false).await;
    assert!(!encrypted.to_string().contains("two"), "{encrypted}");

    let several = json!({ "Names": ["/a/b", "/a/c"], "WithDecryption": true });
    let (_, answer) = client.call("GetParameters", several).await;
    assert_eq!(answer["Parameters"][0]["Value"], "two");
    assert_eq!(answer["InvalidParameters"], json!(["/a/c"]));

    let name = json!({ "Name": "/a/b" });
    assert_eq!(client.call("DeleteParameter", name.clone()).await, (200, json!({})));
    let gone = (400, json!("ParameterNotFound"));
    assert_eq!(client.call("DeleteParameter", name.clone()).await, gone);
    assert_eq!(client.call("GetParameter", name).await, gone);
}

#[tokio::test]
async fn what_is_not_valid_is_refused_with_awss_names() {
    let client = Client::new();
    let put =
        |name: &str, value: &str| json!({ "Name": name, "Type": "SecureString", "Value": value });
    let long = "x".repeat(4097);
    for (request, expected) in [
        (put("a b", "x"), "ValidationException"),
        (put("a/b", "x"), "ValidationException"),
        (put("a", ""), "ValidationException"),
        (put("a", &long), "ValidationException"),
        (json!({ "Name": "a", "Value": "x" }), "ValidationException"),
        (json!({ "Name": "a", "Value": "x", "Tags": [] }), "SerializationException"),
    ] {
        let answer = client.call("PutParameter", request).await;
        assert_eq!(answer, (400, json!(expected)));
    }
    client.0.put_parameter("a", "x").unwrap();
    for (name, expected) in [("b", "ParameterNotFound"), ("a:2", "ParameterVersionNotFound")] {
        let answer = client.call("GetParameter", json!({ "Name": name })).await;
        assert_eq!(answer, (400, json!(expected)));
    }
    let other = client.call("DescribeParameters", json!({})).await;
    assert_eq!(other, (400, json!("UnknownOperationException")));
}
