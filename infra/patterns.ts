/** The events that the stack hears of, as EventBridge's patterns. */

import type * as pulumi from "@pulumi/pulumi";

/** The characters of a pattern, beyond which EventBridge refuses it. */
export const PATTERN_LENGTH_MAX = 2_048;

/** Queries of these work groups that have ended, in whatever way. Other transitions are left out. */
export function queriesEnded(workGroups: pulumi.Input<string>[]) {
  return {
    source: ["aws.athena"],
    "detail-type": ["Athena Query State Change"],
    detail: {
      workgroupName: workGroups,
      currentState: ["SUCCEEDED", "FAILED", "CANCELLED"],
    },
  };
}

/**
 * Runs that did not succeed. The whole ARN of the machine leaves out the items of a distributed map,
 * which are executions of `NAME/LABEL` and no runs.
 */
export function runsFailed(stateMachineArn: pulumi.Input<string>) {
  return {
    source: ["aws.states"],
    "detail-type": ["Step Functions Execution Status Change"],
    detail: {
      stateMachineArn: [stateMachineArn],
      status: ["FAILED", "TIMED_OUT", "ABORTED"],
    },
  };
}
