// Exports the contract <<contract>>. It is granted nothing: it can only compute.

const greetings = {
  greet(name) {
    // A contract's error is thrown as the case that it is.
    if (name === "") throw { tag: "invalid", val: "say whom to greet" };
    return `Hello, ${name}!`;
  },
};

export { greetings as "<<contract>>" };
