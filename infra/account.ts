/** The account and region that the stack is deployed to. */

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface Account {
  id: pulumi.Output<string>;
  region: string;
  partition: pulumi.Output<string>;
}

export function readAccount(region: string, provider: aws.Provider): Account {
  return {
    id: aws.getCallerIdentityOutput({}, { provider }).accountId,
    region,
    partition: aws.getPartitionOutput({}, { provider }).partition,
  };
}

/**
 * The ARN of something that is no resource of the stack, or whose resource comes later: a role's
 * trust names the state machine that the role is made for. All other ARNs come from outputs.
 */
export function arn(account: Account, service: string, resource: string): pulumi.Output<string> {
  return pulumi.interpolate`arn:${account.partition}:${service}:${account.region}:${account.id}:${resource}`;
}

/** The ARN of an object or a bucket of S3, which names neither region nor account. */
export function s3Arn(account: Account, path: string): pulumi.Output<string> {
  return pulumi.interpolate`arn:${account.partition}:s3:::${path}`;
}
