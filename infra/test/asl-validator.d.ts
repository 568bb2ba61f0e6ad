declare module "asl-validator" {
  /** What is wrong with a state machine. */
  function validate(definition: unknown): { isValid: boolean; errors: unknown[] };
  export = validate;
}
