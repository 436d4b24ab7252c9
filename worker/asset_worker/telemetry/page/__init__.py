"""The status page: what the worker shows people in a browser, at `/` of the admin port.

The law of this package: what is shown is a pure function of values (`facts` → `view` → the template). Nothing on the
page comes from elsewhere, nothing in it is executed but `page.js`, and every value is escaped by the template.
"""
