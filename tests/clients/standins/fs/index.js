// Stands in for a package that the client names and these tests never reach (README.md).
'use strict'
