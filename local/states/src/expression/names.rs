//! Which variables, functions and parts of `$states` an expression uses.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

/// What an expression refers to outside itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names {
    /// Variables read and not bound by the expression, without the `$`.
    pub(crate) variables: BTreeSet<String>,
    /// Functions called and not bound by the expression, without the `$`.
    pub(crate) functions: BTreeSet<String>,
    /// The fields of `$states` which are read (`input`, `result`, …).
    pub(crate) states: BTreeSet<String>,
    /// Whether `$states` is read as a whole, not by a named field.
    pub(crate) whole_states: bool,
    /// Whether the execution's input is read through the context object.
    pub(crate) execution_input: bool,
    /// The use of `$states.context.Task`.
    pub(crate) task: TaskUse,
    /// Whether `$` or `$$` is used where there is no value it could mean.
    pub(crate) bare_context: bool,
    /// A field name that stands where there is no value it could be taken from.
    pub(crate) bare_field: Option<String>,
}

/// The ways in which an expression can reach the task token, the surest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskUse {
    /// The expression cannot reach it.
    #[default]
    None,
    /// The expression reads the context object as a whole.
    Possible,
    /// The expression names `Task`.
    Named,
}

impl Names {
    pub(crate) fn of(node: &AstNode) -> Self {
        let mut walk = Walk::default();
        walk.node(node, Place::Top);
        let Walk { mut names, bound } = walk;
        names.variables.retain(|name| !bound.contains(name));
        names.functions.retain(|name| !bound.contains(name));
        names
    }

    /// Whether the expression may read the task token.
    pub(crate) fn may_read_task_token(&self) -> bool {
        self.task != TaskUse::None || self.whole_states
    }

    /// Whether this field of `$states` may be needed to evaluate the expression.
    pub(crate) fn reads(&self, field: &str) -> bool {
        self.whole_states || self.states.contains(field)
    }
}

/// Whether an enclosing path, predicate or function gives `$` a meaning.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Top,
    Inner,
}

#[derive(Default)]
struct Walk {
    names: Names,
    bound: BTreeSet<String>,
}

impl Walk {
    fn node(&mut self, node: &AstNode, place: Place) {
        match node {
            AstNode::String(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::Wildcard
            | AstNode::Descendant
            | AstNode::Parent(_) => {}
            AstNode::Name(name) => {
                if place == Place::Top {
                    self.names.bare_field.get_or_insert_with(|| name.clone());
                }
            }
            AstNode::Variable(name) => self.variable(name, place),
            AstNode::ParentVariable(_) => self.names.bare_context = true,
            AstNode::Path { steps } => self.path(steps, place),
            AstNode::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs, place),
            AstNode::Unary { operand, .. } => self.node(operand, place),
            AstNode::Function { name, args, .. } => {
                self.names.functions.insert(name.clone());
                self.nodes(args, place);
            }
            AstNode::Call { procedure, args } => {
                self.node(procedure, place);
                self.nodes(args, place);
            }
            AstNode::Lambda { params, body, .. } => {
                self.bound.extend(params.iter().cloned());
                self.node(body, place);
            }
            AstNode::Array(items) | AstNode::ArrayGroup(items) | AstNode::Block(items) => {
                self.nodes(items, place);
            }
            AstNode::Object(pairs) => self.pairs(pairs, place),
            AstNode::ObjectTransform { input, pattern } => {
                self.node(input, place);
                self.pairs(pattern, Place::Inner);
            }
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.node(condition, place);
                self.node(then_branch, place);
                if let Some(branch) = else_branch {
                    self.node(branch, place);
                }
            }
            AstNode::FunctionApplication(inner) => self.node(inner, Place::Inner),
            AstNode::Sort { input, terms } => {
                self.node(input, place);
                for (term, _) in terms {
                    self.node(term, Place::Inner);
                }
            }
            AstNode::Transform { location, update, delete } => {
                self.node(location, Place::Inner);
                self.node(update, Place::Inner);
                if let Some(delete) = delete {
                    self.node(delete, Place::Inner);
                }
            }
        }
    }

    fn nodes(&mut self, nodes: &[AstNode], place: Place) {
        for node in nodes {
            self.node(node, place);
        }
    }

    fn pairs(&mut self, pairs: &[(AstNode, AstNode)], place: Place) {
        for (key, value) in pairs {
            self.node(key, place);
            self.node(value, place);
        }
    }

    fn variable(&mut self, name: &str, place: Place) {
        match name {
            "" if place == Place::Top => self.names.bare_context = true,
            "" => {}
            "$" => self.names.bare_context = true,
            "states" => self.names.whole_states = true,
            _ => {
                self.names.variables.insert(name.to_string());
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, lhs: &AstNode, rhs: &AstNode, place: Place) {
        if matches!(op, BinaryOp::ColonEqual | BinaryOp::FocusBind | BinaryOp::IndexBind) {
            // `$name := value` binds its left side, `step@$name` its right.
            let (name, value) = if op == BinaryOp::ColonEqual { (lhs, rhs) } else { (rhs, lhs) };
            if let AstNode::Variable(name) = name {
                self.bound.insert(name.clone());
            }
            return self.node(value, place);
        }
        // The right side of `~>` may be a function by its name alone.
        if op == BinaryOp::ChainPipe
            && let AstNode::Variable(name) = rhs
        {
            self.names.functions.insert(name.clone());
            return self.node(lhs, place);
        }
        self.node(lhs, place);
        self.node(rhs, place);
    }

    fn path(&mut self, steps: &[PathStep], place: Place) {
        if matches!(steps.first(), Some(first) if first.node == AstNode::Variable("states".into()))
        {
            self.states(steps);
        } else if let Some(first) = steps.first() {
            self.node(&first.node, place);
        }
        for (index, step) in steps.iter().enumerate() {
            self.bound.extend(step.focus.iter().cloned());
            self.bound.extend(step.index_var.iter().cloned());
            if index > 0 && !matches!(step.node, AstNode::Name(_)) {
                self.node(&step.node, Place::Inner);
            }
            for stage in &step.stages {
                match stage {
                    Stage::Filter(filter) => self.node(filter, Place::Inner),
                    Stage::Index(name) => {
                        self.bound.insert(name.clone());
                    }
                    Stage::KeepArray => {}
                }
            }
        }
    }

    fn states(&mut self, steps: &[PathStep]) {
        let names: Vec<Option<&str>> = steps[1..]
            .iter()
            .map(|step| match &step.node {
                AstNode::Name(name) | AstNode::String(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        match names.first() {
            Some(Some(field)) => {
                self.names.states.insert((*field).to_string());
                if *field == "context" {
                    let task = match names.get(1) {
                        Some(Some("Task")) => TaskUse::Named,
                        Some(Some(_)) => TaskUse::None,
                        Some(None) | None => TaskUse::Possible,
                    };
                    self.names.task = self.names.task.max(task);
                    let known = |index: usize, name: &str| {
                        names
                            .get(index)
                            .is_some_and(|found| found.is_some_and(|found| found != name))
                    };
                    self.names.execution_input |= !(known(1, "Execution") || known(2, "Input"));
                }
            }
            _ => self.names.whole_states = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, variables: &[&str], functions: &[&str], states: &[&str]) {
        let names = Names::of(&jsonata_core::parser::parse(source).expect("an expression"));
        let sorted = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            (sorted(&names.variables), sorted(&names.functions), sorted(&names.states)),
            (
                variables.iter().map(ToString::to_string).collect(),
                functions.iter().map(ToString::to_string).collect(),
                states.iter().map(ToString::to_string).collect()
            )
        );
        assert_eq!((names.bare_context, names.bare_field), (false, None));
    }

    #[test]
    fn names_that_an_expression_binds_itself_are_not_asked_of_the_outside() {
        check("$a + $b.c[d = $e].f", &["a", "b", "e"], &[], &[]);
        check("($x := 1; $x + $y)", &["y"], &[], &[]);
        check("($f := function($v) { $v * $k }; $f(2))", &["k"], &[], &[]);
        check("$map($states.input.rows, function($r) { $r.n })", &[], &["map"], &["input"]);
        check("$list#$i[$i < 2]", &["list"], &[], &[]);
        check("$states.result.Payload ~> $keys", &[], &["keys"], &["result"]);
        check("$sort($list, function($l, $r) { $l > $r })", &["list"], &["sort"], &[]);
        check("$a ? $states.errorOutput.Error : {'k': $b}", &["a", "b"], &[], &["errorOutput"]);
        check("$list^(>price)[0].{'n': name, 'c': $}", &["list"], &[], &[]);
    }

    #[test]
    fn the_task_token_may_be_read_by_name_or_with_the_whole_context() {
        let reads = |source: &str| {
            let names = Names::of(&jsonata_core::parser::parse(source).expect("an expression"));
            (names.task == TaskUse::Named, names.may_read_task_token())
        };
        assert_eq!(reads("$states.context.Task.Token"), (true, true));
        assert_eq!(reads("{'token': $states.context.Task}"), (true, true));
        assert_eq!(reads("$states.context"), (false, true));
        assert_eq!(reads("($all := $states; $all.context.Task.Token)"), (false, true));
        assert_eq!(reads("$states.context.State.Name"), (false, false));
        assert_eq!(reads("$states.input.Task.Token"), (false, false));
    }

    #[test]
    fn the_input_of_the_execution_is_asked_for_only_where_it_may_be_read() {
        let reads = |source: &str| {
            let node = jsonata_core::parser::parse(source).expect("an expression");
            Names::of(&node).execution_input
        };
        assert!(reads("$states.context.Execution.Input.n"));
        assert!(reads("$states.context.Execution"));
        assert!(reads("$states.context"));
        assert!(!reads("$states.context.Execution.Name"));
        assert!(!reads("$states.context.Map.Item.Value"));
    }
}
