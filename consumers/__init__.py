"""The products' side: obeys commands on a product's own stores and acknowledges what it did."""
