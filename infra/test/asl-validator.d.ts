declare module "asl-validator" {
  /** The faults of a state machine. */
  function validate(definition: unknown): { isValid: boolean; errors: unknown[] };
  export = validate;
}
