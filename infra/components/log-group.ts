import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** The key and the retention of the logs of a stack. */
export interface LogKeeping {
  key: aws.kms.Key;
  retentionDays: number;
}

/** Creates a log group called `path`. */
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
