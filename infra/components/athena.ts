import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import type { Account } from "../account";

/** The prefix of the results of the stack's own work group. */
export const QUERY_RESULTS = "athena/";

export interface AthenaArgs {
  account: Account;
  results: aws.s3.Bucket;
  key: aws.kms.Key;
  /** The GB (1,000,000,000 bytes) that one query may scan; Athena cancels it beyond that. */
  scanLimitGb: number;
}

/** The work group of the stack's queries: the place of their results, and a limit of each. */
export class Athena extends pulumi.ComponentResource {
  readonly workGroup: aws.athena.Workgroup;

  constructor(name: string, args: AthenaArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Athena", name, {}, options);
    this.workGroup = new aws.athena.Workgroup(
      name,
      {
        name,
        description: `The queries of ${name}`,
        // The history of its queries is no reason to keep it.
        forceDestroy: true,
        configuration: {
          enforceWorkgroupConfiguration: true,
          publishCloudwatchMetricsEnabled: true,
          bytesScannedCutoffPerQuery: args.scanLimitGb * 1_000_000_000,
          resultConfiguration: {
            outputLocation: pulumi.interpolate`s3://${args.results.bucket}/${QUERY_RESULTS}`,
            expectedBucketOwner: args.account.id,
            encryptionConfiguration: { encryptionOption: "SSE_KMS", kmsKeyArn: args.key.arn },
          },
        },
      },
      { parent: this },
    );
    this.registerOutputs();
  }
}
