//! Which function a request goes to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::INTEGRATION_TIMEOUT_MAX;
use crate::InvokeError;

/// One route: a method, a path and the function behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    key: String,
    target: Target,
    function: String,
    is_permitted: bool,
}

/// The methods of a route; `ANY` takes those that no other route of the same path has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RouteMethod {
    Only(Method),
    Any,
}

/// What is wrong with an HTTP API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpApiError {
    /// The key is neither `$default` nor a method and a path.
    #[error("route key `{key}`: {expected}")]
    Key {
        /// The key.
        key: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// Two routes match the same requests.
    #[error("routes `{first}` and `{second}` match the same requests")]
    Ambiguous {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The function of a route can not be invoked.
    #[error("looking for the function of route `{route}`")]
    Function {
        /// The route's key.
        route: String,
        /// Why not.
        source: InvokeError,
    },
    /// The API would wait longer for a function than AWS does.
    #[error("an integration time-out of {timeout:?} is longer than {INTEGRATION_TIMEOUT_MAX:?}")]
    IntegrationTimeout {
        /// The time-out.
        timeout: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Path { method: RouteMethod, segments: Vec<Segment> },
    Default,
}

/// One part of a path. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable(String),
    Greedy(String),
}

impl Route {
    /// Reads a route key as API Gateway writes it: `POST /jobs`, `ANY /{proxy+}`, `$default`.
    ///
    /// # Errors
    ///
    /// When the key has another form.
    pub fn new(key: &str, function: impl Into<String>) -> Result<Self, HttpApiError> {
        let refuse = |expected| HttpApiError::Key { key: key.to_owned(), expected };
        let target = if key == "$default" {
            Target::Default
        } else {
            let (method, path) =
                key.split_once(' ').ok_or_else(|| refuse("expected a method and a path"))?;
            Target::Path {
                method: RouteMethod::parse(method)
                    .ok_or_else(|| refuse("expected an HTTP method or `ANY`"))?,
                segments: parse_path(path).map_err(refuse)?,
            }
        };
        Ok(Self { key: key.to_owned(), target, function: function.into(), is_permitted: true })
    }

    /// The route of a function whose policy does not let API Gateway call it: every request is
    /// answered with `500`, as on AWS.
    #[must_use]
    pub fn without_permission(self) -> Self {
        Self { is_permitted: false, ..self }
    }

    /// The key that the route was made from.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name or ARN of the function.
    pub fn function(&self) -> &str {
        &self.function
    }

    pub(super) fn is_permitted(&self) -> bool {
        self.is_permitted
    }

    /// Sorts routes from the most to the least specific: by path, each segment a literal before a variable
    /// before a greedy variable; then one method before `ANY`; `$default` last. Variables are equal
    /// whatever they are called, and so are routes that match the same requests.
    fn precedence(&self) -> (bool, Vec<(u8, &str)>, Option<&str>) {
        match &self.target {
            Target::Default => (true, Vec::new(), None),
            Target::Path { method, segments } => {
                let ranks = segments.iter().map(|segment| match segment {
                    Segment::Literal(text) => (0, text.as_str()),
                    Segment::Variable(_) => (1, ""),
                    Segment::Greedy(_) => (2, ""),
                });
                // No method sorts after "Z".
                let method = match method {
                    RouteMethod::Only(method) => method.as_str(),
                    RouteMethod::Any => "\u{7f}",
                };
                (false, ranks.collect(), Some(method))
            }
        }
    }

    fn matches(&self, method: &Method, path: &str) -> Option<BTreeMap<String, String>> {
        match &self.target {
            Target::Default => Some(BTreeMap::new()),
            Target::Path { method: own, segments } => {
                let is_own = match own {
                    RouteMethod::Only(own) => own == method,
                    RouteMethod::Any => true,
                };
                if is_own { match_path(segments, path) } else { None }
            }
        }
    }
}

impl RouteMethod {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "ANY" => Some(Self::Any),
            "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" => {
                Method::from_bytes(text.as_bytes()).ok().map(Self::Only)
            }
            _ => None,
        }
    }
}

fn parse_path(path: &str) -> Result<Vec<Segment>, &'static str> {
    let rest = path.strip_prefix('/').ok_or("expected a path that begins with `/`")?;
    let mut segments = Vec::new();
    let mut names = BTreeSet::new();
    for part in rest.split('/') {
        let segment =
            parse_segment(part).ok_or("expected braces around a whole segment of the path")?;
        if matches!(segments.last(), Some(Segment::Greedy(_))) {
            return Err("expected a greedy variable at the end of the path only");
        }
        if let Segment::Variable(name) | Segment::Greedy(name) = &segment
            && !names.insert(name.clone())
        {
            return Err("expected each variable once");
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn parse_segment(part: &str) -> Option<Segment> {
    let Some(inner) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
        return (!part.contains(['{', '}'])).then(|| Segment::Literal(part.to_owned()));
    };
    let (name, is_greedy) = inner.strip_suffix('+').map_or((inner, false), |name| (name, true));
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    is_name.then(|| {
        if is_greedy {
            Segment::Greedy(name.to_owned())
        } else {
            Segment::Variable(name.to_owned())
        }
    })
}

/// Matches a path as it was sent, and decodes what the variables stand for. A variable stands for one
/// segment, a greedy one for the rest, and neither for nothing.
fn match_path(segments: &[Segment], path: &str) -> Option<BTreeMap<String, String>> {
    let mut rest = Some(path.strip_prefix('/')?);
    let mut variables = BTreeMap::new();
    for segment in segments {
        let here = rest?;
        if let Segment::Greedy(name) = segment {
            variables.insert(name.clone(), decoded(here));
            return (!here.is_empty()).then_some(variables);
        }
        let (part, after) =
            here.split_once('/').map_or((here, None), |(part, after)| (part, Some(after)));
        match segment {
            Segment::Literal(text) if decoded(part) == *text => {}
            Segment::Variable(name) if !part.is_empty() => {
                variables.insert(name.clone(), decoded(part));
            }
            Segment::Literal(_) | Segment::Variable(_) | Segment::Greedy(_) => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(variables)
}

/// A path, or a part of one, without percent-encoding.
pub(super) fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// The routes of an API, the most specific first.
#[derive(Debug)]
pub(super) struct RouteTable {
    routes: Vec<Route>,
}

/// The route of a request.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) route: &'a Route,
    pub(super) path_parameters: BTreeMap<String, String>,
}

impl RouteTable {
    pub(super) fn new(mut routes: Vec<Route>) -> Result<Self, HttpApiError> {
        routes.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        for pair in routes.windows(2) {
            if let [first, second] = pair
                && first.precedence() == second.precedence()
            {
                return Err(HttpApiError::Ambiguous {
                    first: first.key.clone(),
                    second: second.key.clone(),
                });
            }
        }
        Ok(Self { routes })
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Option<Found<'_>> {
        self.routes.iter().find_map(|route| {
            route.matches(method, path).map(|path_parameters| Found { route, path_parameters })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AWS_EXAMPLE: [&str; 5] = [
        "ANY /{proxy+}",
        "$default",
        "GET /pets/{proxy+}",
        "GET /pets/dog/{id}",
        "GET /pets/dog/1",
    ];

    #[track_caller]
    fn check(keys: &[&str], method: &str, path: &str, expected: Option<(&str, &[(&str, &str)])>) {
        let routes =
            keys.iter().map(|key| Route::new(key, "f").expect("the key is valid")).collect();
        let table = RouteTable::new(routes).expect("the routes are different");
        let method = Method::from_bytes(method.as_bytes()).expect("the method is valid");
        let found = table.find(&method, path);
        let found = found.as_ref().map(|found| {
            let parameters: Vec<_> = found
                .path_parameters
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            (found.route.key(), parameters)
        });
        let expected = expected.map(|(key, parameters)| (key, parameters.to_vec()));
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn the_table_in_the_api_gateway_guide_holds() {
        check(&AWS_EXAMPLE, "GET", "/pets/dog/1", Some(("GET /pets/dog/1", &[])));
        check(&AWS_EXAMPLE, "GET", "/pets/dog/2", Some(("GET /pets/dog/{id}", &[("id", "2")])));
        check(
            &AWS_EXAMPLE,
            "GET",
            "/pets/cat/1",
            Some(("GET /pets/{proxy+}", &[("proxy", "cat/1")])),
        );
        check(&AWS_EXAMPLE, "POST", "/test/5", Some(("ANY /{proxy+}", &[("proxy", "test/5")])));
        check(&AWS_EXAMPLE, "GET", "/", Some(("$default", &[])));
    }

    #[test]
    fn a_route_matches_whole_segments_only() {
        let keys = [
            "POST /jobs",
            "GET /jobs",
            "GET /jobs/{run_id}",
            "DELETE /jobs/{run_id}",
            "GET /jobs/{run_id}/result",
        ];
        check(&keys, "POST", "/jobs", Some(("POST /jobs", &[])));
        check(&keys, "GET", "/jobs/r-1", Some(("GET /jobs/{run_id}", &[("run_id", "r-1")])));
        check(
            &keys,
            "GET",
            "/jobs/r-1/result",
            Some(("GET /jobs/{run_id}/result", &[("run_id", "r-1")])),
        );
        check(&keys, "GET", "/jobs/a%20b", Some(("GET /jobs/{run_id}", &[("run_id", "a b")])));
        for (method, path) in [
            ("PUT", "/jobs"),
            ("GET", "/jobs/"),
            ("GET", "/job"),
            ("GET", "/jobs/r-1/"),
            ("GET", "/jobs/r-1/result/x"),
            ("POST", "/jobs/r-1"),
            ("GET", "/"),
        ] {
            check(&keys, method, path, None);
        }
    }

    #[test]
    fn a_method_goes_before_any_on_one_path_and_a_better_path_goes_before_both() {
        let keys = ["ANY /a", "GET /a", "GET /{x}", "POST /{x+}"];
        check(&keys, "GET", "/a", Some(("GET /a", &[])));
        check(&keys, "PUT", "/a", Some(("ANY /a", &[])));
        check(&keys, "POST", "/a", Some(("ANY /a", &[])));
        check(&keys, "GET", "/b", Some(("GET /{x}", &[("x", "b")])));
        check(&keys, "POST", "/b", Some(("POST /{x+}", &[("x", "b")])));
        check(&keys, "GET", "/b/c", None);
    }

    #[test]
    fn keys_that_aws_refuses_are_refused() {
        for key in [
            "",
            "/jobs",
            "GET jobs",
            "FETCH /jobs",
            "get /jobs",
            "GET /{a+}/b",
            "GET /{a}/{a}",
            "GET /x{a}",
            "GET /{}",
        ] {
            assert!(Route::new(key, "f").is_err(), "{key}");
        }
        let same = ["GET /jobs/{a}", "GET /jobs/{b}"]
            .map(|key| Route::new(key, "f").expect("the key is valid"));
        let refused =
            RouteTable::new(same.to_vec()).expect_err("the routes match the same requests");
        assert_eq!(
            refused.to_string(),
            "routes `GET /jobs/{a}` and `GET /jobs/{b}` match the same requests"
        );
    }

    /// A second definition of a match: the pattern filled with its variables is the path again.
    fn filled(key: &str, parameters: &BTreeMap<String, String>) -> String {
        let (_, mut path) =
            key.split_once(' ').map(|(method, path)| (method, path.to_owned())).expect("a path");
        for (name, value) in parameters {
            path =
                path.replace(&format!("{{{name}+}}"), value).replace(&format!("{{{name}}}"), value);
        }
        path
    }

    proptest! {
        #[test]
        fn what_is_found_explains_the_whole_path(
            keys in prop::collection::btree_set("(GET|ANY) (/(a|b|\\{v\\})){1,2}(/\\{rest\\+\\}|/c)?", 1..6),
            path in "(/(a|b|c|d)){1,4}",
        ) {
            // A variable that stands twice in a path is refused, which is not the matter here.
            let routes = keys.iter().filter_map(|key| Route::new(key, "f").ok()).collect::<Vec<_>>();
            let table = RouteTable::new(routes.clone()).expect("different keys are different routes");
            let found = table.find(&Method::GET, &path);
            let matching = routes.iter().filter(|route| route.matches(&Method::GET, &path).is_some());
            let best = matching.min_by_key(|route| route.precedence()).map(Route::key);
            prop_assert_eq!(found.as_ref().map(|found| found.route.key()), best);
            if let Some(found) = found {
                prop_assert_eq!(filled(found.route.key(), &found.path_parameters), path);
            }
        }
    }
}
