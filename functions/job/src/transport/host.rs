//! Hosts of an SFTP server, as people paste them.

use std::net::Ipv6Addr;

/// The part of a pasted text beside the host.
struct Pasted<'a> {
    /// Name of the text, for a message.
    kind: &'static str,
    user: Option<&'a str>,
    has_password: bool,
    host: &'a str,
    port: Option<&'a str>,
    path: Option<&'a str>,
}

/// Returns the problem with a host, if it is more than a host and a port, or none at all.
///
/// The port behind a colon is not looked at. No password of a URL gets into the text.
pub(super) fn host_problem(text: &str) -> Option<String> {
    let text = text.trim();
    let pasted = take_apart(text);
    if pasted.kind.is_empty() {
        return name_problem(pasted.host);
    }
    let mut fields = vec![format!("`{}` here", pasted.host)];
    let others =
        [("sftp_port", pasted.port), ("sftp_user", pasted.user), ("sftp_path", pasted.path)];
    for (field, value) in others {
        fields.extend(value.map(|value| format!("`{value}` into `{field}`")));
    }
    if pasted.has_password {
        fields.push("the password into `sftp_password`".to_owned());
    }
    let last = fields.pop().unwrap_or_default();
    let fields = if fields.is_empty() { last } else { format!("{} and {last}", fields.join(", ")) };
    Some(format!("is {}, not a host; write {fields}", pasted.kind))
}

fn take_apart(text: &str) -> Pasted<'_> {
    let mut kind = "";
    let mut rest = text;
    if let Some((command, behind)) = rest.split_once(char::is_whitespace)
        && ["ssh", "sftp", "scp", "ftp"].contains(&command)
    {
        (kind, rest) = ("a command", behind.trim());
    }
    if let Some((_, behind)) = rest.split_once("://") {
        (kind, rest) = ("a URL", behind);
    }
    let (before, path) = match rest.find(['/', '\\', '?', '#']) {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    let (user, before) = match before.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, before),
    };
    let (user, has_password) = match user.and_then(|user| user.split_once([':', ';'])) {
        Some((user, _)) => (Some(user), true),
        None => (user, false),
    };
    let (host, port) = match before.rsplit_once(':') {
        // More than one colon is an IPv6 address, unless it has brackets.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        Some(_) | None => (before, None),
    };
    let kind = match (kind, path, user) {
        ("", Some(_), _) => "a host and a path",
        ("", None, Some(_)) => "a user and a host",
        (kind, ..) => kind,
    };
    let filled = |part: &&str| !part.is_empty();
    let path = path.filter(|path| !matches!(*path, "/" | ""));
    Pasted { kind, user: user.filter(filled), has_password, host, port: port.filter(filled), path }
}

fn name_problem(host: &str) -> Option<String> {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if inside.contains(':') {
        let address = inside.split('%').next().unwrap_or_default();
        let is_address = address.parse::<Ipv6Addr>().is_ok();
        return (!is_address).then(|| "is neither a host name nor an IPv6 address".to_owned());
    }
    if !host.is_ascii() {
        return Some("has letters beyond ASCII; write the name in its form `xn--…`".to_owned());
    }
    let odd = host.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c))?;
    Some(match odd {
        odd if odd.is_whitespace() => "has a space in it".to_owned(),
        odd => format!("has `{}` in it, which no host name has", odd.escape_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(host_problem(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn a_host_may_have_a_port_a_final_dot_and_spaces_around_it() {
        let good = "sftp.example|sftp.example.| sftp.example |h:22|10.0.0.1|::1|[::1]|[::1]:22|\
                    fe80::1%eth0|partner_1|h:";
        for text in good.split('|') {
            check(text, None);
        }
        check("", None);
    }

    #[test]
    fn a_pasted_text_is_refused_with_the_fields_that_its_parts_belong_to() {
        for (text, expected) in [
            ("sftp://h", "is a URL, not a host; write `h` here"),
            ("sftp://h/", "is a URL, not a host; write `h` here"),
            ("sftp://h:2222", "is a URL, not a host; write `h` here and `2222` into `sftp_port`"),
            (
                "sftp://u@h/in",
                "is a URL, not a host; write `h` here, `u` into `sftp_user` and `/in` into `sftp_path`",
            ),
            (
                "sftp://u:hunter2@h:22/in/daily",
                "is a URL, not a host; write `h` here, `22` into `sftp_port`, `u` into `sftp_user`, \
                 `/in/daily` into `sftp_path` and the password into `sftp_password`",
            ),
            ("https://h?x=1", "is a URL, not a host; write `h` here and `?x=1` into `sftp_path`"),
            (
                "sftp://[::1]:22/in",
                "is a URL, not a host; write `[::1]` here, `22` into `sftp_port` and `/in` into \
                 `sftp_path`",
            ),
            ("u@h", "is a user and a host, not a host; write `h` here and `u` into `sftp_user`"),
            (
                "u@h:/in",
                "is a host and a path, not a host; write `h` here, `u` into `sftp_user` and `/in` \
                 into `sftp_path`",
            ),
            ("h/in", "is a host and a path, not a host; write `h` here and `/in` into `sftp_path`"),
            ("ssh h", "is a command, not a host; write `h` here"),
            ("sftp u@h", "is a command, not a host; write `h` here and `u` into `sftp_user`"),
        ] {
            check(text, Some(expected));
        }
    }

    #[test]
    fn what_no_host_name_has_is_named() {
        for (text, expected) in [
            ("h 22", "has a space in it"),
            ("h,i", "has `,` in it, which no host name has"),
            ("<h>", "has `<` in it, which no host name has"),
            ("\"h\"", "has `\\\"` in it, which no host name has"),
            ("täglich.example", "has letters beyond ASCII; write the name in its form `xn--…`"),
            ("a:b:c", "is neither a host name nor an IPv6 address"),
        ] {
            check(text, Some(expected));
        }
    }
}
