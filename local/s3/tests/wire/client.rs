//! A client that signs requests as AWS documents Signature Version 4, and no more.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use reqwest::{Body, Method, Response};
use s3s::crypto::{Checksum as _, Sha256};

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.expect("the answer has a body") }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("it is text"))
    }

    /// The contents of all XML elements of a name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        let contents = text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
        contents.map(str::to_owned).collect()
    }

    /// The content of the only XML element of a name.
    #[track_caller]
    pub(crate) fn element(&self, name: &str) -> String {
        let mut all = self.elements(name);
        assert_eq!(all.len(), 1, "{}", self.text());
        all.remove(0)
    }
}

/// A checksum behind a body.
pub(crate) struct Trailer {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
}

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: SocketAddr,
    secret: &'static str,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, secret: &'static str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("it can be built");
        Self { http, address, secret }
    }

    pub(crate) fn with_secret(&self, secret: &'static str) -> Self {
        Self { secret, ..self.clone() }
    }

    pub(crate) async fn unsigned(&self, method: &str, path: &str) -> Answer {
        let request = self.http.request(method.parse().expect("a method"), self.url(path));
        Answer::read(request.send().await.expect("it is answered")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    /// Reads an object whose connection may break.
    pub(crate) async fn try_get(&self, path: &str) -> reqwest::Result<Bytes> {
        self.start("GET", path, &[], "UNSIGNED-PAYLOAD", Body::default()).await.bytes().await
    }

    pub(crate) async fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("PUT", path, headers, body).await
    }

    /// Sends a signed request whose body is not signed, unless a header says otherwise.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.request(method, path, headers, "UNSIGNED-PAYLOAD", Body::from(body.to_vec())).await
    }

    /// Uploads a body of unknown length in chunks of `aws-chunked`, with a checksum behind them.
    pub(crate) async fn put_chunked(
        &self,
        path: &str,
        size_bytes: usize,
        body: impl Stream<Item = Bytes> + Send + 'static,
        trailer: Trailer,
    ) -> Answer {
        let chunks = body.map(|chunk| {
            let head = format!("{:x}\r\n", chunk.len());
            [head.as_bytes(), chunk.as_ref(), b"\r\n"].concat()
        });
        let end = format!("0\r\n{}:{}\r\n\r\n", trailer.name, trailer.value).into_bytes();
        let framed = chunks.chain(futures_util::stream::iter([end]));
        let body = Body::wrap_stream(framed.map(Ok::<_, std::io::Error>));
        let size = size_bytes.to_string();
        let headers = [
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", size.as_str()),
            ("x-amz-trailer", trailer.name),
        ];
        self.request("PUT", path, &headers, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", body).await
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        payload: &str,
        body: Body,
    ) -> Answer {
        Answer::read(self.start(method, path, headers, payload, body).await).await
    }

    async fn start(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        payload: &str,
        body: Body,
    ) -> Response {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let host = self.address.to_string();
        let mut signed = vec![("host", host.as_str()), ("x-amz-date", stamp.as_str())];
        signed.extend_from_slice(headers);
        if !signed.iter().any(|(name, _)| *name == "x-amz-content-sha256") {
            signed.push(("x-amz-content-sha256", payload));
        }
        signed.sort_unstable();
        let authorization = authorization(method, path, &signed, &stamp, self.secret);
        let method: Method = method.parse().expect("a method");
        let mut request = self.http.request(method, self.url(path));
        for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        let request = request.header("authorization", authorization).body(body);
        request.send().await.expect("it is answered")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>. The headers
/// and the parameters of the query are sorted already.
fn authorization(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    stamp: &str,
    secret: &str,
) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|p| if p.contains('=') { p.to_owned() } else { format!("{p}=") });
    let query = pairs.collect::<Vec<_>>().join("&");
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let listed = headers.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}:{value}");
        text
    });
    let payload = headers.iter().find(|(name, _)| *name == "x-amz-content-sha256");
    let payload = payload.map_or("", |(_, value)| value);
    let request = format!("{method}\n{path}\n{query}\n{listed}\n{names}\n{payload}");

    let day = &stamp[..8];
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let digest = hex(&Sha256::checksum(request.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
    let key = [day, "us-east-1", "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part).to_vec());
    let signature = hex(&hmac(&key, &text));
    format!(
        "AWS4-HMAC-SHA256 Credential=test/{scope}, SignedHeaders={names}, Signature={signature}"
    )
}

/// RFC 2104, for keys of at most one block.
fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = [&block.map(|b| b ^ 0x36), text.as_bytes()].concat();
    let outer = [&block.map(|b| b ^ 0x5c)[..], &Sha256::checksum(&inner)].concat();
    Sha256::checksum(&outer)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
