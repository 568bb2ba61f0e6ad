import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** How the logs of a stack are kept. */
export interface LogKeeping {
  key: aws.kms.Key;
  retentionDays: number;
}

/** A log group that `keeping` describes, called `path`. */
export function logGroup(
  name: string,
  path: string,
  keeping: LogKeeping,
  parent: pulumi.Resource,
): aws.cloudwatch.LogGroup {
  return new aws.cloudwatch.LogGroup(
    name,
    { name: path, retentionInDays: keeping.retentionDays, kmsKeyId: keeping.key.arn },
    { parent },
  );
}
