// What a shop's page does, with the types that are made from openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./made.js";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:3000" });

const login = await client.POST("/api/auth/login", {
  body: { email: "ann@example.com", password: "Abc123!x" },
});
if (!login.data) {
  const message: string | string[] | undefined = login.error?.message;
  throw new Error(String(message));
}
const session: components["schemas"]["Session"] = login.data;
const headers = { authorization: `Bearer ${session.token}` };

const order = await client.POST("/api/orders", { body: { items: [{ productId: 1, quantity: 2 }] }, headers });
const page: string | undefined = order.data?.paymentSession.url;

const products = await client.GET("/api/products", { params: { query: { limit: 10 } } });
for (const product of products.data?.data ?? []) {
  const price: number = product.price;
  console.log(product.name, price, page);
}

// @ts-expect-error: a field that no request has is refused by the compiler.
await client.POST("/api/auth/verify", { headers, body: { unknown: 1 } });
