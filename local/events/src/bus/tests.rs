use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::Arrival;

const ATHENA: (&str, &str) = ("aws.athena", "Athena Query State Change");

/// Takes everything, slowly; refuses as long as it is told to.
#[derive(Default)]
struct Taker {
    taken: Mutex<Vec<(String, Value)>>,
    refusals: Mutex<Vec<DeliveryError>>,
    busy: AtomicUsize,
    busy_max: AtomicUsize,
}

#[async_trait]
impl Targets for Taker {
    async fn deliver(&self, delivery: Delivery<'_>) -> Result<(), DeliveryError> {
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.busy_max.fetch_max(busy, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let taken = (delivery.target_arn.to_owned(), delivery.input.clone());
        self.taken.lock().unwrap().push(taken);
        Ok(())
    }
}

impl Taker {
    fn inputs(&self) -> Vec<Value> {
        self.taken.lock().unwrap().iter().map(|(_, input)| input.clone()).collect()
    }
}

fn refusal(is_retryable: bool) -> DeliveryError {
    DeliveryError { code: "NO".to_owned(), message: "not now".to_owned(), is_retryable }
}

fn target(arn: &str) -> Target {
    Target {
        id: arn.to_owned(),
        arn: arn.to_owned(),
        transformer: None,
        retry_policy: RetryPolicy::default(),
        dead_letter_arn: Some("arn:queue".to_owned()),
    }
}

fn rule(name: &str, targets: Vec<Target>) -> Rule {
    Rule {
        name: name.to_owned(),
        arn: format!("arn:rule/{name}"),
        pattern: Pattern::parse(r#"{"source":["aws.athena"]}"#).unwrap(),
        is_enabled: true,
        targets,
    }
}

fn bus(rules: Vec<Rule>) -> (Bus, Arc<Taker>) {
    let taker = Arc::new(Taker::default());
    let targets: Arc<dyn Targets> = Arc::<Taker>::clone(&taker);
    let config = BusConfig {
        rules,
        targets,
        concurrency_max: 4,
        retry_wait: Duration::from_micros(1),
        faults: EventFaults::default(),
    };
    (Bus::new(config), taker)
}

fn event(number: u32) -> Value {
    json!({ "source": ATHENA.0, "detail-type": ATHENA.1, "detail": { "number": number } })
}

#[tokio::test]
async fn every_rule_that_matches_calls_its_targets_with_their_inputs() {
    let paths = [("n".to_owned(), "$.detail.number".to_owned())];
    let transformer = Transformer::parse(&paths.into(), r#"{"n":<n>}"#).unwrap();
    let with_input = Target { transformer: Some(transformer), ..target("b") };
    let other = Rule {
        pattern: Pattern::parse(r#"{"source":["aws.states"]}"#).unwrap(),
        ..rule("other", vec![target("c")])
    };
    let disabled = Rule { is_enabled: false, ..rule("disabled", vec![target("d")]) };
    let (bus, taker) = bus(vec![rule("one", vec![target("a"), with_input]), other, disabled]);
    bus.put(event(7));
    bus.idle().await;
    let mut deliveries = taker.taken.lock().unwrap().clone();
    deliveries.sort_by_key(|(arn, _)| arn.clone());
    assert_eq!(deliveries, [("a".to_owned(), event(7)), ("b".to_owned(), json!({ "n": 7 }))]);
    let usage = RuleUsage { matched: 1, delivered: 2, ..RuleUsage::default() };
    assert_eq!((bus.usage("one"), bus.usage("other")), (usage, RuleUsage::default()));
    assert_eq!(bus.usage("disabled"), RuleUsage::default());
    assert_eq!(bus.events(), [event(7)]);
}

#[tokio::test]
async fn a_target_is_called_by_a_few_events_at_a_time() {
    let (bus, taker) = bus(vec![rule("one", vec![target("a")]), rule("two", vec![target("a")])]);
    for number in 0..100 {
        bus.put(event(number));
    }
    bus.idle().await;
    assert_eq!(taker.inputs().len(), 200);
    assert_eq!(taker.busy_max.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn events_are_lost_doubled_late_and_out_of_order_on_demand() {
    let (bus, taker) = bus(vec![rule("one", vec![target("a")])]);
    bus.faults().lose(ATHENA.0, ATHENA.1);
    bus.put(event(1));
    bus.idle().await;
    assert_eq!((taker.inputs(), bus.events()), (vec![], vec![event(1)]));

    bus.faults().double(ATHENA.0, ATHENA.1, Duration::from_millis(1));
    bus.put(event(2));
    bus.idle().await;
    assert_eq!(taker.inputs(), [event(2), event(2)]);

    bus.faults().disturb(ATHENA.0, ATHENA.1, |event| {
        let number = event["detail"]["number"].as_u64().unwrap_or_default();
        vec![Arrival { after: Duration::from_millis(100 * (4 - number)) }]
    });
    bus.put(event(3));
    bus.put(event(4));
    bus.idle().await;
    assert_eq!(taker.inputs()[2..], [event(4), event(3)]);

    bus.faults().disturb("aws.states", ATHENA.1, |_| Vec::new());
    bus.faults().clear();
    bus.faults().lose(ATHENA.0, "Another Type");
    bus.put(event(5));
    bus.idle().await;
    assert_eq!(taker.inputs()[4..], [event(5)]);
}

#[tokio::test]
async fn a_target_that_refuses_is_tried_again() {
    let (bus, taker) = bus(vec![rule("one", vec![target("a")])]);
    *taker.refusals.lock().unwrap() = vec![refusal(true); 3];
    bus.put(event(1));
    bus.idle().await;
    assert_eq!(taker.inputs(), [event(1)]);
    let expected = RuleUsage { matched: 1, delivered: 1, retried: 3, dead_letters: 0 };
    assert_eq!(bus.usage("one"), expected);
}

/// A dead letter after so many tries, with a policy and refusals that may be retried.
async fn check_dead(retry_policy: RetryPolicy, is_retryable: bool, tries: u32) {
    let dying = Target { retry_policy, ..target("a") };
    let (bus, taker) = bus(vec![rule("one", vec![dying])]);
    *taker.refusals.lock().unwrap() = vec![refusal(is_retryable); 1000];
    bus.put(event(1));
    bus.idle().await;
    let letter = DeadLetter {
        rule: "one".to_owned(),
        target: "a".to_owned(),
        queue_arn: Some("arn:queue".to_owned()),
        event: event(1),
        error: refusal(is_retryable),
        tries,
    };
    assert_eq!(bus.dead_letters(), [letter]);
    assert_eq!(taker.inputs(), [] as [Value; 0]);
}

#[tokio::test]
async fn an_event_that_nobody_takes_becomes_a_dead_letter() {
    check_dead(RetryPolicy::default(), false, 1).await;
    check_dead(RetryPolicy { retries_max: 0, ..RetryPolicy::default() }, true, 1).await;
    check_dead(RetryPolicy { retries_max: 2, ..RetryPolicy::default() }, true, 3).await;
    check_dead(RetryPolicy { age_seconds_max: 0, ..RetryPolicy::default() }, true, 1).await;
}

#[tokio::test]
async fn nothing_is_delivered_after_the_shutdown() {
    let (bus, taker) = bus(vec![rule("one", vec![target("a")])]);
    bus.faults().delay(ATHENA.0, ATHENA.1, Duration::from_hours(1));
    bus.put(event(1));
    assert_eq!(bus.pending(), 1);
    bus.shut_down().await;
    bus.put(event(2));
    bus.idle().await;
    assert_eq!(taker.inputs(), [] as [Value; 0]);
}
