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

/** An ARN that names something of the settings, and its length before the account is known. */
export interface SizedArn {
  text: pulumi.Output<string>;
  lengthMax: number;
}

/** The longest partition and a stand-in for the account's 12 digits. */
const [WIDEST_PARTITION, ANY_ID] = ["aws-us-gov", "000000000000"];

/** Returns what `arn` returns, with its length. */
export function sizedArn(account: Account, service: string, resource: string): SizedArn {
  const widest = `arn:${WIDEST_PARTITION}:${service}:${account.region}:${ANY_ID}:${resource}`;
  return { text: arn(account, service, resource), lengthMax: widest.length };
}

/** Returns the ARN of an object or a bucket of S3, which names neither region nor account. */
export function sizedS3Arn(account: Account, path: string): SizedArn {
  return {
    text: pulumi.interpolate`arn:${account.partition}:s3:::${path}`,
    lengthMax: `arn:${WIDEST_PARTITION}:s3:::${path}`.length,
  };
}

/** Returns an account for measuring, before AWS was asked for the real one. */
export function anyAccount(region: string): Account {
  return { id: pulumi.output(ANY_ID), region, partition: pulumi.output(WIDEST_PARTITION) };
}
