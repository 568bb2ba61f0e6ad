//! Words of the errors of a login.

use russh::{MethodKind, client::Prompt};

/// Names a credential that was accepted.
pub(super) const fn noun(method: MethodKind) -> &'static str {
    match method {
        MethodKind::PublicKey => "the key",
        MethodKind::Password => "the password",
        MethodKind::KeyboardInteractive => "the password by `keyboard-interactive`",
        MethodKind::None => "the name",
        MethodKind::HostBased => "the host",
        MethodKind::GssapiWithMic => "the ticket",
    }
}

/// Names a credential that is wanted.
pub(super) fn article_and_noun(method: MethodKind) -> String {
    match method {
        MethodKind::PublicKey => "a key".to_owned(),
        MethodKind::Password => "a password".to_owned(),
        MethodKind::KeyboardInteractive => "a password or code (`keyboard-interactive`)".to_owned(),
        other => format!("`{}`", <&str>::from(&other)),
    }
}

/// Joins words as a sentence does.
pub(super) fn list(words: impl Iterator<Item = String>, last: &str) -> String {
    let mut words: Vec<_> = words.collect();
    match words.pop() {
        Some(end) if !words.is_empty() => format!("{} {last} {end}", words.join(", ")),
        end => end.unwrap_or_default(),
    }
}

/// Lists methods by their names.
pub(super) fn quoted(methods: &[MethodKind]) -> String {
    let names = methods.iter().map(|method| format!("`{}`", <&str>::from(method)));
    names.collect::<Vec<_>>().join(", ")
}

/// The text of a question.
pub(super) fn question(name: &str, instructions: &str, prompts: &[Prompt]) -> String {
    let texts = [name, instructions].into_iter().chain(prompts.iter().map(|p| p.prompt.as_str()));
    let texts: Vec<_> = texts.map(str::trim).filter(|text| !text.is_empty()).collect();
    texts.join(" ")
}

/// The reason for giving up at a question after the password was sent.
pub(super) fn second_question(shown: &str) -> String {
    let text = shown.to_lowercase();
    let signs = ["expired", "new password", "change your password", "password change"];
    if signs.iter().any(|sign| text.contains(sign)) {
        format!("the password has expired: the server asks `{shown}`")
    } else {
        format!("the server asks a second question, `{shown}`, and there is only a password")
    }
}
