import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [svelte()],
  // The console's policy lets scripts and styles come from files alone: nothing inline, no data URLs.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2023" },
});
