//! Addresses of ShareFile. Those of uploads are secrets.

use std::fmt;

use hyper::Uri;
use job::transport::{ShareFileConfig, TransportProblem};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::error::Error;

/// The characters of an item's id that are not escaped.
const IN_ID: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The control plane of the API for accounts in the EU and others, where the token does not name it.
const CONTROL_PLANES: [(&str, &str); 2] = [(".sharefile.eu", "sf-api.eu"), ("", "sf-api.com")];

/// An address. Whoever knows the address of an upload can upload, so only the scheme and the host are
/// shown.
#[derive(Clone)]
pub(crate) struct Address(Url);

impl Address {
    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// Names the fault without showing the address. Only `https` is allowed; to this machine also
    /// `http`, if `local` says so.
    pub(crate) fn parse(text: &str, local: bool) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is no address")?;
        match (url.scheme(), url.host_str()) {
            (_, None | Some("")) => Err("there is no host in it"),
            ("https", Some(_)) => Ok(Self(url)),
            ("http", Some("127.0.0.1" | "localhost" | "[::1]")) if local => Ok(Self(url)),
            _ => Err("it is not encrypted: only `https` is allowed"),
        }
    }

    /// Returns the address of `path`, relative to this one.
    pub(crate) fn join(&self, path: &str) -> Result<Self, &'static str> {
        let url = self.0.join(path).map_err(|_| "it is no address")?;
        Self::parse(url.as_str(), self.is_local())
    }

    /// Returns the same address with more in its query.
    pub(crate) fn with(&self, pairs: &[(&str, &str)]) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Self(url)
    }

    /// Returns the same address with `key` in its query, unless it is there.
    pub(crate) fn with_default(&self, key: &str, value: &str) -> Self {
        let is_there = self.0.query_pairs().any(|(known, _)| known.eq_ignore_ascii_case(key));
        if is_there { self.clone() } else { self.with(&[(key, value)]) }
    }

    /// The host, with the port if it is not the usual one.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Returns whether the address is on this machine and not encrypted.
    pub(crate) fn is_local(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Returns the address for a request.
    pub(crate) fn uri(&self) -> Result<Uri, &'static str> {
        self.0.as_str().parse().map_err(|_| "it is no address")
    }

    /// Returns the address of a provider of the API, from the address of one of its items:
    /// `https://host/sf/v3/` from `https://host/sf/v3/Items(id)/ByPath?path=x`.
    pub(crate) fn provider(&self) -> Option<Self> {
        let (provider, _) = self.0.path().split_once("/Items")?;
        let mut url = self.0.clone();
        url.set_path(&format!("{provider}/"));
        url.set_query(None);
        Some(Self(url))
    }

    /// Returns whether a token for this provider may be shown to `other`: it has the same host, or a
    /// host of the same domain.
    pub(crate) fn trusts(&self, other: &Self) -> bool {
        let domain = |address: &Self| {
            let host = address.host();
            host.split_once('.').map(|(_, domain)| domain.to_owned()).filter(|d| d.contains('.'))
        };
        let is_name = matches!(self.0.host(), Some(url::Host::Domain(_)));
        self.host() == other.host()
            || (is_name && domain(self).is_some() && domain(self) == domain(other))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/…", self.0.scheme(), self.host())
    }
}

/// Returns the address at which the account of `config` gives out tokens.
pub(crate) fn token_address(config: &ShareFileConfig) -> Result<Address, Error> {
    let (field, text) = match &config.sharefile_endpoint {
        Some(endpoint) => ("sharefile_endpoint", endpoint.trim_end_matches('/').to_owned()),
        None => ("host", format!("https://{}", config.account_host().unwrap_or_default())),
    };
    Address::parse(&format!("{text}/oauth/token"), true).map_err(|fault| Error::Configuration {
        problems: vec![TransportProblem {
            path: format!("config.{field}"),
            message: fault.to_owned(),
        }],
    })
}

/// Returns the address of the API that came with a token.
///
/// An old account's token may miss the subdomain and the control plane. They are then those of the
/// host.
pub(crate) fn api_address(
    config: &ShareFileConfig,
    subdomain: Option<&str>,
    control_plane: Option<&str>,
) -> Result<Address, &'static str> {
    if let Some(endpoint) = &config.sharefile_endpoint {
        return Address::parse(&format!("{}/sf/v3/", endpoint.trim_end_matches('/')), true);
    }
    let host = config.account_host().unwrap_or_default();
    let subdomain = subdomain.or_else(|| host.split('.').next()).unwrap_or_default();
    let usual = CONTROL_PLANES.iter().find(|(domain, _)| host.ends_with(domain));
    let control_plane =
        control_plane.or(usual.map(|(_, control_plane)| *control_plane)).unwrap_or_default();
    let address = Address::parse(&format!("https://{subdomain}.{control_plane}/sf/v3/"), false)?;
    if address.host() == format!("{subdomain}.{control_plane}").to_ascii_lowercase() {
        Ok(address)
    } else {
        Err("the host in it is none")
    }
}

/// Returns the path of the item `id`, relative to the address of the API.
pub(crate) fn item_path(id: &str) -> String {
    format!("Items({})", utf8_percent_encode(id, IN_ID))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(host: &str, endpoint: Option<&str>) -> ShareFileConfig {
        let config =
            json!({ "host": host, "sharefile_folder": "home", "sharefile_endpoint": endpoint });
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn an_address_shows_its_scheme_and_host_only() {
        let address = Address::parse("https://u:p@zone.example:8443/x?uploadid=s", false).unwrap();
        let shown = "https://zone.example:8443/…";
        assert_eq!([format!("{address}"), format!("{address:?}")], [shown, shown]);
    }

    #[test]
    fn only_this_machine_is_reached_without_encryption() {
        for (text, local, fault) in [
            ("https://zone.example/x", false, None),
            ("http://127.0.0.1:1/x", true, None),
            ("http://[::1]:1/x", true, None),
            ("http://127.0.0.1:1/x", false, Some("it is not encrypted: only `https` is allowed")),
            ("http://zone.example/x", true, Some("it is not encrypted: only `https` is allowed")),
            ("ftp://zone.example/x", true, Some("it is not encrypted: only `https` is allowed")),
            ("/upload?x", true, Some("it is no address")),
            ("data:x", true, Some("there is no host in it")),
        ] {
            assert_eq!(Address::parse(text, local).err(), fault, "{text}");
        }
    }

    #[test]
    fn the_api_is_where_the_token_says() {
        for (host, token, expected) in [
            ("acme", Some(("acme", "sf-api.com")), "https://acme.sf-api.com/sf/v3/"),
            ("acme", Some(("Acme2", "sharefile.eu")), "https://acme2.sharefile.eu/sf/v3/"),
            ("acme.sharefile.com", None, "https://acme.sf-api.com/sf/v3/"),
            ("acme.sharefile.eu", None, "https://acme.sf-api.eu/sf/v3/"),
        ] {
            let (subdomain, control_plane) = token.unzip();
            let address = api_address(&config(host, None), subdomain, control_plane).unwrap();
            assert_eq!(address.0.as_str(), expected);
        }
        let bent = api_address(&config("acme", None), Some("evil.example/x?"), Some("sf-api.com"));
        assert_eq!(bent.err(), Some("the host in it is none"));
        let local = config("acme", Some("http://127.0.0.1:9/"));
        assert_eq!(token_address(&local).unwrap().0.as_str(), "http://127.0.0.1:9/oauth/token");
        let address = api_address(&local, Some("acme"), Some("sf-api.com")).unwrap();
        assert_eq!(address.0.as_str(), "http://127.0.0.1:9/sf/v3/");
    }

    #[test]
    fn a_query_is_added_to_and_not_changed() {
        let address =
            Address::parse("https://z.example/u.aspx?encparams=a-b$&FMT=x", false).unwrap();
        let more = address.with(&[("index", "0"), ("name", "a&b")]).with_default("fmt", "json");
        assert_eq!(
            more.0.as_str(),
            "https://z.example/u.aspx?encparams=a-b$&FMT=x&index=0&name=a%26b"
        );
    }

    #[test]
    fn a_token_is_shown_to_its_own_domain_only() {
        let at = |host: &str| Address::parse(&format!("https://{host}/sf/v3/"), false).unwrap();
        for (one, other, trusted) in [
            ("acme.sf-api.com", "acme.sf-api.com", true),
            ("acme.sf-api.com", "acme2.sf-api.com", true),
            ("acme.sf-api.com", "acme.sf-api.com:8443", false),
            ("acme.sf-api.com", "zone.acme.example", false),
            ("acme.sf-api.com", "sf-api.com.evil.example", false),
            ("10.0.0.1", "11.0.0.1", false),
        ] {
            assert_eq!(at(one).trusts(&at(other)), trusted, "{one} {other}");
        }
    }

    #[test]
    fn an_item_belongs_to_the_provider_that_answered_for_it() {
        let api = Address::parse("https://acme.sf-api.com/sf/v3/", false).unwrap();
        let found =
            api.join(&format!("{}/ByPath", item_path("a/b(c)"))).unwrap().with(&[("path", "/ä b")]);
        assert_eq!(
            found.0.as_str(),
            "https://acme.sf-api.com/sf/v3/Items(a%2Fb%28c%29)/ByPath?path=%2F%C3%A4+b"
        );
        assert_eq!(found.provider().unwrap().0.as_str(), api.0.as_str());
    }
}
