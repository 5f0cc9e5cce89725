/** A real browser for tests: the system's Chromium, or the one in the development dependencies. */
import { existsSync } from "node:fs";
import chromiumBundle from "@sparticuz/chromium";
import { type Browser, chromium } from "playwright-core";

const systemChromium = "/usr/bin/chromium";

export async function launchBrowser(): Promise<Browser> {
  const hasSystem = existsSync(systemChromium);
  const executablePath = hasSystem ? systemChromium : await chromiumBundle.executablePath();
  // Root cannot use Chromium's own sandbox, and the page is ours.
  const args = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    ...(hasSystem ? [] : chromiumBundle.args),
  ];
  return chromium.launch({ executablePath, args, headless: true });
}
