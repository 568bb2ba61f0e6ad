//! Status events of executions: the port that an event bus implements.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

/// AWS: the escaped input and output of an event may have 248 KB together.
const EVENT_DATA_BYTES_MAX: usize = 248 * 1024;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The execution has not ended.
    Running,
    /// The execution ended with an output.
    Succeeded,
    /// The execution ended with an error.
    Failed,
    /// The execution took longer than the `TimeoutSeconds` of its state machine.
    TimedOut,
    /// Somebody stopped the execution.
    Aborted,
}

impl Status {
    pub(crate) const ALL: [Status; 5] =
        [Status::Running, Status::Succeeded, Status::Failed, Status::TimedOut, Status::Aborted];

    /// The API's name of the status, such as `TIMED_OUT`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "RUNNING",
            Status::Succeeded => "SUCCEEDED",
            Status::Failed => "FAILED",
            Status::TimedOut => "TIMED_OUT",
            Status::Aborted => "ABORTED",
        }
    }
}

/// Gets the status events of all executions, those of a map run included.
pub trait StatusListener: Send + Sync {
    /// Takes one event. It is called where the execution runs, so it must not block.
    ///
    /// Each execution has one event when it starts and one when it ends.
    fn changed(&self, event: StatusChange);
}

/// One "Step Functions Execution Status Change".
#[derive(Clone, PartialEq)]
pub struct StatusChange {
    /// The id of the event, which all deliveries of it share.
    pub id: String,
    /// The ARN of the execution.
    pub execution_arn: String,
    /// The ARN of its state machine; `…:stateMachine:NAME/LABEL` for a child of a map run.
    pub state_machine_arn: String,
    /// The name of the execution.
    pub name: String,
    /// The status that the execution has from now on.
    pub status: Status,
    /// The start of the execution.
    pub started: Timestamp,
    /// The end of the execution, unless it runs.
    pub stopped: Option<Timestamp>,
    /// The input as JSON text.
    pub input: Arc<str>,
    /// The output as JSON text, if the execution succeeded.
    pub output: Option<Arc<str>>,
}

impl StatusChange {
    /// The event as EventBridge delivers it.
    ///
    /// AWS leaves the input out where it and the output have more than 248 KB together, escaped,
    /// and the output as well where it is larger than that alone.
    pub fn to_event(&self) -> Value {
        let part = |index| self.execution_arn.split(':').nth(index).unwrap_or_default();
        let output_bytes = self.output.as_deref().map_or(0, escaped_bytes);
        let has_input = escaped_bytes(&self.input) + output_bytes <= EVENT_DATA_BYTES_MAX;
        let has_output = output_bytes <= EVENT_DATA_BYTES_MAX;
        let output = self.output.as_deref().filter(|_| has_output);
        let output_details = self.output.as_ref().map(|_| json!({"included": has_output}));
        let time = self.stopped.unwrap_or(self.started);
        json!({
            "version": "0",
            "id": self.id,
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "account": part(4),
            "time": format!("{time:.0}"),
            "region": part(3),
            "resources": [self.execution_arn],
            "detail": {
                "executionArn": self.execution_arn,
                "stateMachineArn": self.state_machine_arn,
                "name": self.name,
                "status": self.status.name(),
                "startDate": self.started.as_millisecond(),
                "stopDate": self.stopped.map(Timestamp::as_millisecond),
                "input": has_input.then_some(&*self.input),
                "inputDetails": {"included": has_input},
                "output": output,
                "outputDetails": output_details,
            },
        })
    }
}

/// The input and output of an execution belong in no log.
impl fmt::Debug for StatusChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusChange")
            .field("execution_arn", &self.execution_arn)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The bytes of a text as a JSON string, without its quotes.
fn escaped_bytes(text: &str) -> usize {
    let escape = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escape).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(status: Status, input: &str, output: Option<&str>) -> StatusChange {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("a time");
        StatusChange {
            id: "event-1".to_string(),
            execution_arn: "arn:aws:states:eu-west-1:123456789012:execution:m/L:run".to_string(),
            state_machine_arn: "arn:aws:states:eu-west-1:123456789012:stateMachine:m/L".to_string(),
            name: "run".to_string(),
            status,
            started: at(1_547_148_840_101),
            stopped: (status != Status::Running).then(|| at(1_547_148_840_922)),
            input: input.into(),
            output: output.map(Into::into),
        }
    }

    #[test]
    fn an_event_has_what_aws_documents() {
        let event = change(Status::Succeeded, "{}", Some(r#""Hello""#)).to_event();
        assert_eq!(
            event,
            json!({
                "version": "0",
                "id": "event-1",
                "detail-type": "Step Functions Execution Status Change",
                "source": "aws.states",
                "account": "123456789012",
                "time": "2019-01-10T19:34:00Z",
                "region": "eu-west-1",
                "resources": ["arn:aws:states:eu-west-1:123456789012:execution:m/L:run"],
                "detail": {
                    "executionArn": "arn:aws:states:eu-west-1:123456789012:execution:m/L:run",
                    "stateMachineArn": "arn:aws:states:eu-west-1:123456789012:stateMachine:m/L",
                    "name": "run",
                    "status": "SUCCEEDED",
                    "startDate": 1_547_148_840_101_i64,
                    "stopDate": 1_547_148_840_922_i64,
                    "input": "{}",
                    "inputDetails": {"included": true},
                    "output": r#""Hello""#,
                    "outputDetails": {"included": true},
                },
            })
        );
        let detail = &change(Status::Running, "{}", None).to_event()["detail"];
        assert_eq!(
            (&detail["status"], &detail["stopDate"], &detail["output"], &detail["outputDetails"]),
            (&json!("RUNNING"), &Value::Null, &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn data_that_is_too_large_is_left_out_the_input_first() {
        #[track_caller]
        fn check(input_bytes: usize, output_bytes: usize, included: (bool, bool)) {
            let (input, output) = ("i".repeat(input_bytes), "o".repeat(output_bytes));
            let event = change(Status::Succeeded, &input, Some(&output)).to_event();
            let detail = &event["detail"];
            let (has_input, has_output) = included;
            let expected = json!({
                "input": has_input.then_some(input),
                "inputDetails": {"included": has_input},
                "output": has_output.then_some(output),
                "outputDetails": {"included": has_output},
            });
            for (field, expected) in expected.as_object().expect("an object") {
                assert!(&detail[field] == expected, "{field}");
            }
        }
        check(253_000, 952, (true, true));
        check(253_000, 953, (false, true));
        check(1, 253_952, (false, true));
        check(0, 253_953, (false, false));
    }

    #[test]
    fn the_size_is_that_of_the_escaped_text() {
        for text in ["plain", "\"quotes\" \\ \n\t\u{1}\u{8}\u{c}\r", "ä€😀"] {
            let escaped = serde_json::to_string(text).expect("a string is JSON");
            assert_eq!(escaped_bytes(text), escaped.len() - 2, "{text}");
        }
    }

    #[test]
    fn the_data_of_an_execution_is_not_shown() {
        let shown = format!("{:?}", change(Status::Succeeded, "secret", Some("secret")));
        assert!(shown.contains("Succeeded") && !shown.contains("secret"), "{shown}");
    }
}
