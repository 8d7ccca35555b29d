// A service of a NestJS system: payment pages and accounts as the original has them, and answers of all the kinds that
// Nest knows. Plain JavaScript: the decorators are applied by hand, as TypeScript's compiler would.
'use strict';
require('reflect-metadata');
const { Controller, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { EventPattern, MessagePattern, Payload, RpcException, Transport } = require('@nestjs/microservices');
const { concat, delay, of } = require('rxjs');

const [, , server, queue] = process.argv;

function refuse(status, message) {
  throw new RpcException({ status, message });
}

class Payments {
  createSession({ orderId, currency, items }) {
    if (items.some((item) => item.name === 'Refused')) refuse(400, 'The bill is refused');
    if (items.some((item) => item.name === 'Broken')) throw new Error('a mistake in the service');
    const total = items.reduce((sum, item) => sum + Math.round(item.price * 100) * item.quantity, 0);
    return {
      cancelUrl: 'http://nest.test/payments/cancel',
      successUrl: 'http://nest.test/payments/success',
      url: `http://nest.test/pay/${orderId}/${total}/${currency}`,
    };
  }
}

class Accounts {
  async login({ email, password }) {
    if (password !== 'Abc123!x') refuse(400, 'User/Password not valid');
    return { user: { id: '6b039ba0047006a81039975f', email, name: 'Nest', role: 'customer' }, token: 'a.b.c' };
  }
  register({ name, email }) {
    if (email === 'taken@example.com') refuse(400, 'User already exists');
    if (name === 'Large') name = 'x'.repeat(1 << 20);
    const user = { id: '6b039ba0047006a81039975f', email, name, role: 'customer' };
    // Several packets, of which the last one counts.
    return concat(of({ working: true }), of({ user, token: 'a.b.c' }).pipe(delay(5)));
  }
  verify(token) {
    if (token !== 'a.b.c') refuse(401, 'Token not valid');
    return of({ user: { id: '6b039ba0047006a81039975f', email: 'n@example.com', name: 'Nest', role: 'customer' }, token });
  }
  noted(event) {
    console.log(JSON.stringify({ event }));
  }
}

function handler(type, method, decorator, pattern) {
  decorator(pattern)(type.prototype, method, Object.getOwnPropertyDescriptor(type.prototype, method));
  Payload()(type.prototype, method, 0);
}

handler(Payments, 'createSession', MessagePattern, 'create.payment.session');
handler(Accounts, 'login', MessagePattern, 'auth.login.user');
handler(Accounts, 'register', MessagePattern, 'auth.register.user');
handler(Accounts, 'verify', MessagePattern, 'auth.verify.token');
handler(Accounts, 'noted', EventPattern, 'account.noted');
Controller()(Payments);
Controller()(Accounts);

class System {}
Module({ controllers: [Payments, Accounts] })(System);

async function main() {
  const options = { servers: [server], ...(queue && { queue }) };
  const service = await NestFactory.createMicroservice(System, { transport: Transport.NATS, options, logger: ['error'] });
  await service.listen();
  console.log(JSON.stringify({ ready: true }));
  process.stdin.resume().on('end', () => service.close().then(() => process.exit(0)));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
