"""What the end-to-end tests are written with. They see boxlite only from outside: programs, files, /proc."""
