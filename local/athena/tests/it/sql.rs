//! Athena's answers where DataFusion by itself has others, and Athena's errors.

use crate::endpoint::Endpoint;

/// The text of the only value that an expression gives, or `NULL`, or why it gives none.
async fn value(endpoint: &Endpoint, expression: &str) -> String {
    match endpoint.run(&format!("SELECT {expression}")).await {
        Err(reason) => reason,
        Ok(text) => {
            let record = text.split_once('\n').unwrap().1.strip_suffix('\n').unwrap();
            match record.strip_prefix('"') {
                None => "NULL".to_owned(),
                Some(quoted) => quoted.strip_suffix('"').unwrap().replace("\"\"", "\""),
            }
        }
    }
}

async fn check(rows: &[(&str, &str)]) {
    let endpoint = Endpoint::start().await;
    let mut wrong = Vec::new();
    for (expression, expected) in rows {
        let found = value(&endpoint, expression).await;
        if found != *expected {
            wrong.push(format!("{expression}\n   expected {expected}\n   found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn answers_that_would_silently_differ_are_athenas() {
    check(&[
        ("concat('a', NULL)", "NULL"),
        ("concat('a', 'b', 'c')", "abc"),
        ("extract(dow from date '2024-01-07')", "7"),
        ("day_of_week(date '2024-01-07')", "7"),
        ("split_part('a,b', ',', 3)", "NULL"),
        ("split_part('a,b', ',', 2)", "b"),
        ("cast(1e10 as varchar)", "1.0E10"),
        ("cast(cast(3.5 as double) as varchar)", "3.5"),
        ("9223372036854775807 + 1", "NUMERIC_VALUE_OUT_OF_RANGE: bigint addition overflow"),
        ("2147483647 + 1", "NUMERIC_VALUE_OUT_OF_RANGE: integer addition overflow"),
        ("cast(2.5 as integer)", "3"),
        ("cast(-2.5 as integer)", "-3"),
        ("cast(cast(2.5 as double) as bigint)", "3"),
        ("substr('abcdef', -3)", "def"),
        ("substr('abcdef', 0)", ""),
        ("substring('abcdef' from 2 for 3)", "bcd"),
        ("greatest(1, NULL)", "NULL"),
        ("least(1, 2)", "1"),
        ("0.1 + 0.2", "0.3"),
        ("1.0 / 3.0", "0.3"),
        ("2.0 / 3", "0.7"),
        ("-5.00 / 3", "-1.67"),
        ("7 / 2", "3"),
        ("regexp_replace('aaa', 'a', 'b')", "bbb"),
        ("regexp_replace('ab', '(a)(b)', '$2$1')", "ba"),
        ("element_at(array[1, 2], 3)", "NULL"),
        ("array[1, 2][2]", "2"),
        ("contains(array[1, NULL], 2)", "NULL"),
        ("cast(timestamp '2020-01-01 10:00:00' as varchar)", "2020-01-01 10:00:00.000"),
        ("'a\\b' like 'a\\b'", "true"),
        ("'a%' like 'a\\%'", "false"),
        ("'a%' like 'a!%' escape '!'", "true"),
        ("cast('abcdef' as varchar(3))", "abc"),
        ("round(2.345, 2)", "2.350"),
        ("round(2.5)", "3"),
        ("round(cast(-2.5 as double))", "-3.0"),
        ("power(2, 3)", "8.0"),
        ("if(1 > 2, 'a', 'b')", "b"),
        ("date_trunc('month', date '2024-05-17')", "2024-05-01"),
        ("date_diff('day', date '2024-02-28', date '2024-03-01')", "2"),
        ("date_add('month', 1, date '2024-01-31')", "2024-02-29"),
        (
            "date_format(timestamp '2024-05-17 13:05:09', '%Y/%m/%d %H:%i:%s')",
            "2024/05/17 13:05:09",
        ),
        ("date_parse('2024-05-17', '%Y-%m-%d')", "2024-05-17 00:00:00.000"),
        ("date '2024-01-31' + interval '1' month", "2024-02-29"),
        ("current_date is not null and now() is not null", "true"),
        ("sum(x) FROM UNNEST(array[1, 2]) AS t(x)", "3"),
        ("avg(x) FROM (VALUES (1.25), (1.26)) t(x)", "1.26"),
        ("row_number() OVER (ORDER BY x) - 5 FROM (VALUES (1)) t(x)", "-4"),
        ("DISTINCT x + 1 FROM (VALUES (1), (1)) t(x) ORDER BY x + 1", "2"),
        ("count_if(x > 1) FROM (VALUES (1), (2)) t(x)", "1"),
        (
            "sum(x) FROM (VALUES (9223372036854775807), (1)) t(x)",
            "NUMERIC_VALUE_OUT_OF_RANGE: Out of range for bigint: 9223372036854775808",
        ),
        ("trim(' a\t')", "a"),
        ("to_hex(md5(to_utf8('a')))", "0CC175B9C0F1B6A831C399E269772661"),
        ("json_extract_scalar('{\"a\":[1,\"x\"]}', '$.a[1]')", "x"),
    ])
    .await;
}

#[tokio::test]
async fn a_query_that_athena_refuses_fails_with_athenas_error() {
    let syntax = "line 1:8: mismatched input 'FROM'. Expecting: an expression";
    check(&[
        ("FROM x", syntax),
        (
            "a FROM nope",
            "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.default.nope' does not exist",
        ),
        ("a FROM nope.b", "SCHEMA_NOT_FOUND: line 1:15: Schema 'nope' does not exist"),
        ("a FROM x.nope.b", "CATALOG_NOT_FOUND: line 1:15: Catalog 'x' does not exist"),
        ("x FROM (SELECT 1 AS a)", "COLUMN_NOT_FOUND: line 1:8: Column 'x' cannot be resolved"),
        ("to_char(1)", "FUNCTION_NOT_FOUND: line 1:8: Function 'to_char' not registered"),
        ("upper(1)", "FUNCTION_NOT_FOUND: Unexpected parameters (bigint) for function upper"),
        ("'1' = 1", "TYPE_MISMATCH: Cannot apply operator: varchar = bigint"),
        ("1 in ('1')", "TYPE_MISMATCH: Cannot apply operator: bigint = varchar"),
        ("1 between '0' and '2'", "TYPE_MISMATCH: Cannot apply operator: bigint >= varchar"),
        ("1 / 0", "DIVISION_BY_ZERO: Division by zero"),
        ("1.0 / 0", "DIVISION_BY_ZERO: Division by zero"),
        (
            "array[1][2]",
            "INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or equal to array length",
        ),
        ("'a' ilike 'A'", "NOT_SUPPORTED: line 1:8: ILIKE is not supported"),
        (
            "cast('x' as integer)",
            "INVALID_CAST_ARGUMENT: Cannot cast string 'x' to value of Int32 type",
        ),
    ])
    .await;
}

#[tokio::test]
async fn statements_that_could_reach_beyond_the_data_are_refused() {
    let endpoint = Endpoint::start().await;
    for sql in [
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET datafusion.catalog.location = '/'",
        "INSERT INTO x SELECT 1",
        "DROP TABLE x",
        "EXPLAIN SELECT 1",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM generate_series(1, 3)",
    ] {
        let refused = endpoint.run(sql).await;
        assert!(refused.is_err(), "{sql}: {refused:?}");
    }
}

#[tokio::test]
async fn nulls_come_last_in_both_directions() {
    let endpoint = Endpoint::start().await;
    endpoint.put("default/t.csv", "a,b\n1,x\n,y\n2,z\n");
    for (order, expected) in [("a", "1 2 NULL"), ("a DESC", "2 1 NULL")] {
        let text = endpoint.run(&format!("SELECT a, 1 AS one FROM t ORDER BY {order}")).await;
        let text = text.unwrap();
        let found: Vec<&str> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap().trim_matches('"'))
            .map(|value| if value.is_empty() { "NULL" } else { value })
            .collect();
        assert_eq!(found.join(" "), expected, "{order}");
    }
}

#[tokio::test]
async fn a_file_that_comes_later_is_found_without_a_restart() {
    let endpoint = Endpoint::start().await;
    assert!(endpoint.run_in("sales", "SELECT * FROM t").await.is_err());
    endpoint.put("sales/t/1.csv", "A,b\n1,x\n");
    let one = endpoint.run_in("Sales", "SELECT a, \"B\" FROM T").await;
    assert_eq!(one.unwrap(), "\"a\",\"B\"\n\"1\",\"x\"\n");
    endpoint.put("sales/t/2.csv", "A,b\n2,y\n");
    let both =
        endpoint.run_in("sales", "SELECT count(*), sum(A) FROM awsdatacatalog.sales.t").await;
    assert_eq!(both.unwrap(), "\"_col0\",\"_col1\"\n\"2\",\"3\"\n");
}
