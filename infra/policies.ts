/** The sizes that IAM allows, and a role's statements spread over policies of these sizes. */

import * as pulumi from "@pulumi/pulumi";

import { type Grant, type GrantedResource, isSized } from "./grants";

/**
 * The characters that a role's inline policies may have together and a managed policy has for
 * itself, white space not counted: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
 */
export const INLINE_LENGTH_MAX = 10_240;
export const MANAGED_LENGTH_MAX = 6_144;

/** The managed policies that a role may have, unless AWS has raised the account's quota. */
export const MANAGED_POLICIES_MAX = 10;

/** The longest ARN of something in the stack; a test holds it. */
export const OWN_ARN_LENGTH_MAX = 160;

const EMPTY_DOCUMENT = JSON.stringify({ Version: "2012-10-17", Statement: [] });

/** The statements of a role: those of its inline policy, and those of each managed policy. */
export interface Packed {
  inline: Grant[];
  managed: Grant[][];
}

/**
 * Spreads statements over an inline policy and as many managed ones as they take. What fits nowhere
 * as a whole is split by its resources.
 *
 * Works before anything is made: the ARN of something in the stack counts as `OWN_ARN_LENGTH_MAX`.
 */
export function pack(grants: Grant[], inlineLengthMax = INLINE_LENGTH_MAX): Packed {
  const documents: Grant[][] = [[]];
  let room = inlineLengthMax - EMPTY_DOCUMENT.length;
  for (const grant of grants) {
    let rest = grant.Resource;
    while (rest.length > 0) {
      const count = fitting(grant, rest, room);
      if (count > 0) {
        const part = { ...grant, Resource: rest.slice(0, count) };
        documents.at(-1)?.push(part);
        room -= lengthOf(part);
        rest = rest.slice(count);
      } else if (documents.length > 1 && documents.at(-1)?.length === 0) {
        throw new Error(`the statement \`${grant.Sid}\` fits into no policy`);
      } else {
        documents.push([]);
        room = MANAGED_LENGTH_MAX - EMPTY_DOCUMENT.length;
      }
    }
  }
  const [inline = [], ...managed] = documents;
  return { inline, managed };
}

/** Returns how many managed policies these statements take at most, whatever else a role may do. */
export function managedPolicies(grants: Grant[]): number {
  return pack(grants, EMPTY_DOCUMENT.length).managed.length;
}

/** Returns how many of the resources fit with the rest of the statement into `room` characters. */
function fitting(grant: Grant, resources: GrantedResource[], room: number): number {
  let [length, count] = [lengthOf({ ...grant, Resource: [] }), 0];
  for (const resource of resources) {
    length += lengthOfResource(resource);
    if (length > room) {
      break;
    }
    count += 1;
  }
  return count;
}

/** Returns the length of a statement in a document, with the comma before it. */
function lengthOf(grant: Grant): number {
  const rest = JSON.stringify({ ...grant, Resource: [] }).length + 1;
  return grant.Resource.map(lengthOfResource).reduce((sum, length) => sum + length, rest);
}

/** Returns the length of a resource in a statement, with its quotes and its comma. */
function lengthOfResource(resource: GrantedResource): number {
  if (isSized(resource)) {
    return resource.lengthMax + 3;
  }
  return (typeof resource === "string" ? resource.length : OWN_ARN_LENGTH_MAX) + 3;
}

/**
 * Refuses more managed policies than a role takes. The settings are checked first, each list for
 * itself; this is the net for all of them together.
 *
 * @throws pulumi.RunError that says how many they are.
 */
export function refuseTooMany(role: string, { managed }: Packed): void {
  if (managed.length > MANAGED_POLICIES_MAX) {
    throw new pulumi.RunError(
      `the role \`${role}\` would take ${managed.length} managed policies, and IAM attaches at most ${MANAGED_POLICIES_MAX}`,
    );
  }
}
