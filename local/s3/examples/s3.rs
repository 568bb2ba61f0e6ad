//! Serves a directory as S3: `cargo run -p local-s3 --example s3 -- DIRECTORY [ADDRESS]`.
//! Access key and secret are both `test`.

use std::error::Error;
use std::io::Write as _;

use axum::serve::ListenerExt as _;
use local_s3::{Credentials, Store, fallback};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_env_filter("warn,s3s=off").with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("usage: serve DIRECTORY [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let store = Store::open(root).await?;
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    // Without this, what is written in two pieces waits for an acknowledgement between them.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    writeln!(std::io::stdout(), "http://{address}")?;
    axum::serve(listener, fallback(store, &[Credentials::new("test", "test")])).await?;
    Ok(())
}
