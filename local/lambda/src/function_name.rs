//! The ways in which a request may name a function.

/// Whether AWS would take `name` for a new function.
pub(crate) fn is_function_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A function as a request names it: by name, by partial ARN (`000000000000:function:NAME`) or by ARN,
/// each with or without a qualifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionReference {
    pub(crate) name: String,
    pub(crate) account: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) qualifier: Option<String>,
}

impl FunctionReference {
    /// Reads a reference; `None` if the text has none of the forms.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, rest) = match parts.as_slice() {
            ["arn", partition, "lambda", region, account, "function", rest @ ..]
                if partition.starts_with("aws") =>
            {
                (Some(*region), Some(*account), rest)
            }
            [account, "function", rest @ ..] if is_account(account) => (None, Some(*account), rest),
            rest => (None, None, rest),
        };
        let (name, qualifier) = match rest {
            [name] => (*name, None),
            [name, qualifier] if !qualifier.is_empty() => (*name, Some((*qualifier).to_owned())),
            _ => return None,
        };
        is_function_name(name).then(|| Self {
            name: name.to_owned(),
            account: account.map(str::to_owned),
            region: region.map(str::to_owned),
            qualifier,
        })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, account, region and qualifier.
    type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    #[track_caller]
    fn check(text: &str, expected: Option<Parts<'_>>) {
        let expected = expected.map(|(name, account, region, qualifier)| FunctionReference {
            name: name.to_owned(),
            account: account.map(str::to_owned),
            region: region.map(str::to_owned),
            qualifier: qualifier.map(str::to_owned),
        });
        assert_eq!(FunctionReference::parse(text), expected, "{text}");
    }

    #[test]
    fn every_form_that_aws_takes_is_read_and_nothing_else() {
        let account = Some("000000000000");
        let region = Some("us-east-1");
        check("load-queries", Some(("load-queries", None, None, None)));
        check("load_queries:$LATEST", Some(("load_queries", None, None, Some("$LATEST"))));
        check("000000000000:function:load", Some(("load", account, None, None)));
        check("000000000000:function:load:prod", Some(("load", account, None, Some("prod"))));
        check(
            "arn:aws:lambda:us-east-1:000000000000:function:load",
            Some(("load", account, region, None)),
        );
        check(
            "arn:aws-cn:lambda:us-east-1:000000000000:function:load:$LATEST",
            Some(("load", account, region, Some("$LATEST"))),
        );
        for refused in [
            "",
            "a b",
            "load:",
            ":load",
            "a:b:c",
            "arn:aws:s3:us-east-1:000000000000:function:load",
        ] {
            check(refused, None);
        }
        check(&"n".repeat(65), None);
    }
}
