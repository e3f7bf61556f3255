#!/usr/bin/env node
import "../../dist/mnmctl.js";
