import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type Account } from "../account";
import { document, keyPolicy } from "../grants";

export interface EncryptionArgs {
  account: Account;
  /** The log groups that the key encrypts; each may end in `*`. */
  logGroupArns: pulumi.Input<string>[];
  protect: boolean;
}

/** The stack's key: for its objects, its logs and its notifications. */
export class Encryption extends pulumi.ComponentResource {
  readonly key: aws.kms.Key;

  constructor(name: string, args: EncryptionArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Encryption", name, {}, options);
    this.key = new aws.kms.Key(
      name,
      {
        description: `Encrypts what ${name} keeps`,
        enableKeyRotation: true,
        deletionWindowInDays: 30,
        policy: document(keyPolicy(args.account, args.logGroupArns)),
      },
      { parent: this, protect: args.protect },
    );
    new aws.kms.Alias(name, { name: `alias/${name}`, targetKeyId: this.key.id }, { parent: this });
    this.registerOutputs();
  }
}
