// A form that goes on with what was begun sends itself; without this script a person presses its button.
"use strict";
document.querySelector("form[data-continue]")?.requestSubmit();
